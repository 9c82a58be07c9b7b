// node's fetch through the gateway: says how its requests fared.

import diagnostics from 'node:diagnostics_channel';

const { GATEWAY: gateway, SECRET: secret } = process.env;
const headers = { authorization: `Bearer ${secret}` };

let connections = 0;
diagnostics.channel('undici:client:connected').subscribe(() => { connections += 1; });

async function kept() {
  const answers = [];
  for (let n = 0; n < 5; n += 1) {
    const answer = await fetch(`${gateway}/v1/x`, { headers });
    answers.push(await answer.text());
    // The body's end is told before its connection is free again.
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  return { answers, connections };
}

async function refused() {
  const answer = await fetch(`${gateway}/v1/x`);
  return [answer.status, (await answer.json()).code, answer.headers.get('content-type')];
}

async function uploaded() {
  const pieces = ['one', 'two', 'three'];
  const body = new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => { setTimeout(resolve, 20); });
      const piece = pieces.shift();
      if (piece) controller.enqueue(new TextEncoder().encode(piece)); else controller.close();
    },
  });
  const answer = await fetch(`${gateway}/v1/up`, { method: 'POST', headers, body, duplex: 'half' });
  return answer.text();
}

// The next event is sent only once this one is acknowledged.
async function events() {
  const answer = await fetch(`${gateway}/v1/events`, { headers });
  const seen = [];
  let text = '';
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    let end = text.indexOf('\n\n');
    while (end >= 0) {
      seen.push(text.slice(0, end).split('data: ')[1]);
      text = text.slice(end + 2);
      await (await fetch(`${gateway}/v1/ack`, { headers })).text();
      end = text.indexOf('\n\n');
    }
  }
  return seen;
}

const said = {
  kept: await kept(), refused: await refused(), uploaded: await uploaded(), events: await events(),
};
console.log(JSON.stringify(said));
