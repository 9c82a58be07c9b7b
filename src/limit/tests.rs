//! What an edit, a second limit and many threads must not break.

use std::sync::atomic::AtomicU32;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_nanos(seconds * SECOND + 1)
}

fn per_minute(name: &str, requests: u32) -> Rate {
    Rate::of_key(&RateSpec {
        name: name.into(),
        requests: NonZeroU32::new(requests).unwrap(),
        window: Duration::from_mins(1),
        burst: None,
    })
}

fn spend(cells: &Cells, rate: &Rate, now: Monotonic) -> u64 {
    let passes = |_: &u64| cells.charge(std::slice::from_ref(rate), now).is_ok();
    (0..1_000_000_u64).take_while(passes).count() as u64
}

#[test]
fn a_limit_of_five_lets_five_through_and_says_when_the_next_may_come() {
    let (cells, rate) = (Cells::default(), per_minute("minute", 5));
    let first = cells.charge(std::slice::from_ref(&rate), at(0)).unwrap();
    assert_eq!((first[0].remaining, first[0].reset, first[0].quota, first[0].window), (4, 12, 5, 60));
    assert_eq!(spend(&cells, &rate, at(0)), 4);
    assert_eq!(cells.charge(std::slice::from_ref(&rate), at(0)).unwrap_err().retry_after, 12);
    assert_eq!(spend(&cells, &rate, at(12)), 1);
    assert_eq!(spend(&cells, &rate, at(120)), 5);
}

#[test]
fn what_was_spent_stays_spent_over_an_edit() {
    let cells = Cells::default();
    assert_eq!(spend(&cells, &per_minute("minute", 5), at(0)), 5);
    assert_eq!(spend(&cells, &per_minute("minute", 10), at(0)), 5);

    let cells = Cells::default();
    let ten = per_minute("minute", 10);
    for _ in 0..6 {
        cells.charge(std::slice::from_ref(&ten), at(0)).unwrap();
    }
    assert_eq!(spend(&cells, &per_minute("minute", 5), at(0)), 0);
}

#[test]
fn an_edit_counts_from_the_moment_of_the_edit() {
    let cells = Cells::default();
    assert_eq!(spend(&cells, &per_minute("minute", 10), at(0)), 10);
    let twenty = per_minute("minute", 20);
    cells.rescale(std::slice::from_ref(&twenty), at(30));
    // 5 came back in 30 s at 10 a minute, so 5 of 20 are spent.
    assert_eq!(cells.standings(std::slice::from_ref(&twenty), at(30))[0].remaining, 15);
}

#[test]
fn a_refused_request_charges_no_limit() {
    let cells = Cells::default();
    let rates = [per_minute("wide", 10), per_minute("narrow", 2)];
    for _ in 0..2 {
        cells.peek(&rates, at(0)).unwrap();
        cells.charge(&rates, at(0)).unwrap();
    }
    for _ in 0..5 {
        assert_eq!(&*cells.peek(&rates, at(0)).unwrap_err().name, "narrow");
        assert_eq!(&*cells.charge(&rates, at(0)).unwrap_err().name, "narrow");
    }
    assert_eq!(cells.standings(&rates, at(0))[0].remaining, 8);
}

#[test]
fn a_routes_default_has_a_state_for_each_route() {
    let cells = Cells::default();
    let spec = RateSpec {
        name: "minute".into(),
        requests: NonZeroU32::MIN,
        window: Duration::from_mins(1),
        burst: None,
    };
    assert_eq!(spend(&cells, &Rate::of_route(&spec, "/a"), at(0)), 1);
    assert_eq!(spend(&cells, &Rate::of_route(&spec, "/b"), at(0)), 1);
    assert_eq!(spend(&cells, &Rate::of_route(&spec, "/a"), at(0)), 0);
}

#[test]
fn a_limit_of_its_own_continues_the_routes_default_of_the_same_name() {
    let cells = Cells::default();
    let five = RateSpec {
        name: "minute".into(),
        requests: NonZeroU32::new(5).unwrap(),
        window: Duration::from_mins(1),
        burst: None,
    };
    assert_eq!(spend(&cells, &Rate::of_route(&five, "/a"), at(0)), 5);
    cells.rescale(&[per_minute("minute", 10)], at(0));
    assert_eq!(spend(&cells, &per_minute("minute", 10), at(0)), 5);
}

#[test]
fn a_routes_default_continues_the_limit_that_was_taken_away() {
    let cells = Cells::default();
    let spec = RateSpec {
        name: "minute".into(),
        requests: NonZeroU32::new(5).unwrap(),
        window: Duration::from_mins(1),
        burst: None,
    };
    let (default, own) = (Rate::of_route(&spec, "/a"), per_minute("minute", 10));
    cells.charge(std::slice::from_ref(&default), at(0)).unwrap();
    cells.rescale(std::slice::from_ref(&own), at(0));
    cells.charge(&vec![own.clone(); 3], at(0)).unwrap();
    cells.rescale(&[], at(0));
    assert_eq!(spend(&cells, &default, at(0)), 1);
    cells.rescale(std::slice::from_ref(&own), at(0));
    assert_eq!(spend(&cells, &own, at(0)), 5);
}

#[test]
fn a_refund_after_an_edit_gives_nothing_away() {
    let (cells, ten, twenty) = (Cells::default(), per_minute("minute", 10), per_minute("minute", 20));
    cells.charge(&vec![ten.clone(); 6], at(1_000)).unwrap();
    cells.rescale(std::slice::from_ref(&twenty), at(1_000));
    cells.refund(std::slice::from_ref(&ten));
    assert_eq!(spend(&cells, &twenty, at(1_000)), 14);
    cells.refund(std::slice::from_ref(&twenty));
    assert_eq!(spend(&cells, &twenty, at(1_000)), 1);
}

#[test]
fn threads_together_never_pass_more_than_the_limit() {
    let (cells, rate) = (Cells::default(), per_minute("minute", 1000));
    let passed = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if cells.charge(std::slice::from_ref(&rate), at(0)).is_ok() {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 1000);
}

#[test]
fn places_are_never_more_than_the_most() {
    let running = InFlight::default();
    let two = NonZeroU32::new(2);
    assert_eq!(running.enter(two), Entered::Yes);
    assert_eq!(running.enter(two), Entered::Yes);
    assert_eq!(running.enter(two), Entered::Full);
    running.leave();
    assert_eq!(running.enter(two), Entered::Yes);
    assert_eq!(running.enter(None), Entered::Yes);
}
