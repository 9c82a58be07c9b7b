//! The pages of the file, read without the database engine: for a file that may be damaged anywhere.
//!
//! Each page is named by its parent together with its checksum, so one that is damaged is known for sure, and what
//! hangs below it is still found where the page can be read as far as the names of its children: each of those shows
//! itself whole by the checksum beside its name. Nothing here trusts a byte of the file, and nothing panics.
//!
//! This reads version 3 of the file format, as redb documents it in its `docs/design.md`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use super::mend::Mender;
use super::page::{BRANCH, LEAF, Page, Pair, Root, Widths, u32_at, u64_at, u128_at};
use crate::store::backup::Table;

const PAGE_BYTES: u64 = 4096;
/// Deeper than any tree that fits on a disk.
const MAX_DEPTH: u32 = 64;
const SLOT_BYTES: usize = 128;
const SLOT_CHECKED: usize = 112;
const SLOTS_AT: [usize; 2] = [64, 64 + SLOT_BYTES];
const HEAD_BYTES: usize = 64 + 2 * SLOT_BYTES;
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
const VERSION: u8 = 3;
/// In the head's flags: which slot is in force, and whether the file was not closed.
const SECOND_SLOT: u8 = 1;
const NOT_CLOSED: u8 = 2;
/// The geometry of every file that this program makes: pages of a region before and with data.
const GEOMETRY: Geometry = Geometry { before: 0, data: 1 << 20 };

/// Whether a page's place was named by one that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It was.
    Named,
    /// It was not, so only its checksum can show that it is the right page.
    Guessed,
}

/// Something found in a tree.
pub(super) enum Found<'a> {
    /// A pair of a page that is whole.
    Pair(Pair<'a>),
    /// The pairs of a page that is damaged somewhere.
    Doubtful(Vec<Pair<'a>>),
    /// A page that is not what its parent says.
    Broken { at: u64, what: &'static str },
}

/// Whether a page is as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    before: u64,
    data: u64,
}

/// The file.
pub(super) struct Pages {
    file: File,
    length: u64,
    geometry: Geometry,
    mender: Mutex<Mender>,
}

/// A table as the tree of tables names it.
pub(super) struct Named {
    pub(super) table: Table,
    /// How many records it has.
    pub(super) records: u64,
    /// Nothing where it is empty.
    pub(super) root: Option<Root>,
    pub(super) trust: Trust,
}

impl Pages {
    /// Reads the head and finds the newest commit that can be read; `broken` is told what is wrong with the head.
    pub(super) fn open(file: File, broken: &mut dyn FnMut(String)) -> io::Result<(Self, Option<Root>)> {
        let length = file.metadata()?.len();
        let mut head = [0; HEAD_BYTES];
        let pages = Self { file, length, geometry: GEOMETRY, mender: Mutex::default() };
        if length < HEAD_BYTES as u64 {
            broken(format!("it has {length} bytes, which is not even a head"));
            return Ok((pages, None));
        }
        pages.file.read_exact_at(&mut head, 0)?;
        if head[..9] != *MAGIC {
            broken("its first bytes are not those of a store".into());
        }
        let number = |at: usize| u64::from(u32_at(&head, at).unwrap_or_default());
        let geometry = Geometry { before: number(16), data: number(20) };
        if number(12) != PAGE_BYTES || geometry != GEOMETRY {
            broken("its head states pages of another size or order than it was made with".into());
        }
        let root = pages.newest(&head, broken);
        Ok((pages, root))
    }

    fn newest(&self, head: &[u8; HEAD_BYTES], broken: &mut dyn FnMut(String)) -> Option<Root> {
        let bytes = |number: usize| &head[SLOTS_AT[number]..][..SLOT_BYTES];
        let slot = |number: usize| Slot::read(bytes(number));
        let flags = head[9];
        let mut first = usize::from(flags & SECOND_SLOT != 0);
        let (one, other) = (slot(first), slot(1 - first));
        if one.version != VERSION && one.whole == Whole::Yes {
            broken(format!(
                "it has version {} of the file format, which this version does not know",
                one.version
            ));
            return None;
        }
        let closed = flags & NOT_CLOSED == 0;
        if closed && [one.whole, other.whole] == [Whole::Yes; 2] && other.commit > one.commit {
            broken("its head names the last commit but one as the last".into());
            first = 1 - first;
        }
        let (one, other) = (slot(first), slot(1 - first));
        if one.whole == Whole::Yes {
            return one.root;
        }
        broken("the head of its newest commit is damaged".into());
        let is_whole = |bytes: &[u8]| Slot::read(bytes).whole == Whole::Yes;
        if let Some(mended) = self.mender.lock().mend(bytes(first), is_whole) {
            return Slot::read(&mended).root;
        }
        // A root that is whole can only have been named by bytes that are.
        if let Some(root) = one.root.filter(|root| self.is_whole(*root)) {
            return Some(root);
        }
        if other.whole == Whole::No && !other.root.is_some_and(|root| self.is_whole(root)) {
            broken("the head of the commit before it is damaged too, so nothing can be found".into());
            return None;
        }
        broken("what follows is of the commit before it; the last change is lost".into());
        other.root
    }

    fn is_whole(&self, root: Root) -> bool {
        self.read(root.page).is_some_and(|page| Page::new(&page, Widths::TABLES).is_whole(root.checksum))
    }

    /// The tables that the commit has.
    pub(super) fn tables(&self, root: Root, broken: &mut dyn FnMut(String)) -> Vec<Named> {
        let mut tables: Vec<Named> = Vec::new();
        let mut add = |pair: Pair<'_>, trust| {
            let Some(new) = named(pair, trust) else { return };
            if !tables.iter().any(|known| known.table == new.table) {
                tables.push(new);
            }
        };
        self.tree(root, Widths::TABLES, Trust::Named, &mut |found| match found {
            Found::Broken { at, what } => {
                broken(format!("the list of tables is damaged: {what}, at byte {at}"));
            }
            Found::Pair(pair) => add(pair, Trust::Named),
            Found::Doubtful(pairs) => pairs.into_iter().for_each(|pair| add(pair, Trust::Guessed)),
        });
        tables
    }

    /// Everything of a tree that can be read, in order.
    pub(super) fn tree(&self, root: Root, widths: Widths, trust: Trust, each: &mut dyn FnMut(Found<'_>)) {
        // Each page is in a tree once; a damaged file may name one twice.
        let mut walk = Walk { pages: self, widths, left: self.length / PAGE_BYTES, each };
        walk.page(root, trust, MAX_DEPTH);
    }

    /// The bytes of a page, if there are such.
    fn read(&self, number: u64) -> Option<Vec<u8>> {
        let (start, length) = self.place(number)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, start).ok()?;
        Some(bytes)
    }

    /// Where a page begins, and its length: index (20 bits), region (20), reserved (19), order (5).
    fn place(&self, number: u64) -> Option<(u64, u64)> {
        let order = u32::try_from(number >> 59).ok().filter(|order| *order <= 20)?;
        let (index, region) = (number & (0xF_FFFF >> order), number >> 20 & 0xF_FFFF);
        let length = PAGE_BYTES << order;
        let Geometry { before, data } = self.geometry;
        let start = PAGE_BYTES
            .checked_add(region.checked_mul((before + data) * PAGE_BYTES)?)?
            .checked_add(before * PAGE_BYTES + index * length)?;
        (start.checked_add(length)? <= self.length).then_some((start, length))
    }
}

/// One of the two places where a commit is announced.
struct Slot {
    version: u8,
    whole: Whole,
    root: Option<Root>,
    commit: u64,
}

impl Slot {
    fn read(bytes: &[u8]) -> Self {
        let whole = u128_at(bytes, SLOT_CHECKED) == bytes.get(..SLOT_CHECKED).map(xxh3_128);
        let root = bytes.get(8..).filter(|_| bytes[1] != 0).and_then(Root::read);
        let commit = u64_at(bytes, 104).unwrap_or_default();
        Self { version: bytes[0], whole: if whole { Whole::Yes } else { Whole::No }, root, commit }
    }
}

fn named((key, value): Pair<'_>, trust: Trust) -> Option<Named> {
    // Where the page is damaged, the damage may be in the very name.
    let near = |name: &str| {
        let differ = name.bytes().zip(key).filter(|(one, other)| one != *other).count();
        name.len() == key.len() && differ <= usize::from(trust == Trust::Guessed)
    };
    let table = Table::ALL.into_iter().find(|table| near(table.name()))?;
    let root = if *value.get(9)? == 0 { None } else { Some(Root::read(value.get(10..)?)?) };
    Some(Named { table, records: u64_at(value, 1)?, root, trust })
}

struct Walk<'a> {
    pages: &'a Pages,
    widths: Widths,
    left: u64,
    each: &'a mut dyn FnMut(Found<'_>),
}

impl Walk<'_> {
    fn page(&mut self, root: Root, trust: Trust, depth: u32) {
        let at = self.pages.place(root.page).map_or(0, |(start, _)| start);
        if depth == 0 || self.left == 0 {
            return (self.each)(Found::Broken { at, what: "its pages name each other in a circle" });
        }
        self.left -= 1;
        let Some(mut bytes) = self.pages.read(root.page) else {
            return (self.each)(Found::Broken { at, what: "a page lies outside the file" });
        };
        let widths = self.widths;
        let is_whole = |bytes: &[u8]| Page::new(bytes, widths).is_whole(root.checksum);
        let mut whole = Whole::Yes;
        if !is_whole(&bytes) {
            if let Some(mended) = self.pages.mender.lock().mend(&bytes, is_whole) {
                (self.each)(Found::Broken {
                    at,
                    what: "a page has one flipped bit, which can be turned back",
                });
                bytes = mended;
            } else {
                (self.each)(Found::Broken { at, what: "a page's checksum is wrong" });
                whole = Whole::No;
            }
        }
        if whole == Whole::No && trust == Trust::Guessed {
            // It may be another page altogether, or one of long ago.
            return;
        }
        let page = Page::new(&bytes, widths);
        if bytes.first() == Some(&BRANCH) {
            let trust = if whole == Whole::Yes { Trust::Named } else { Trust::Guessed };
            for child in 0..=page.pairs {
                if let Some(child) = page.child(child) {
                    self.page(child, trust, depth - 1);
                }
            }
        } else if bytes.first() == Some(&LEAF) {
            let pairs = (0..page.pairs).map_while(|pair| page.pair(pair));
            match whole {
                Whole::Yes => pairs.for_each(|pair| (self.each)(Found::Pair(pair))),
                Whole::No => (self.each)(Found::Doubtful(pairs.collect())),
            }
        }
    }
}
