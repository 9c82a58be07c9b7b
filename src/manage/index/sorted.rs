//! A map from key IDs in pages: full pages where keys come in the order of their IDs, as they do when a store is loaded
//! and when keys are created, so that a million rows take the space of a million rows. Looking up, adding and removing
//! cost two binary searches and a move within one page.

use crate::key::KeyId;

/// Rows in a page, at most.
const PAGE_ROWS: usize = 512;

/// The pages; none is empty, and both they and what is in them are in ascending order of IDs.
#[derive(Debug)]
pub(super) struct Sorted<V> {
    pages: Vec<Vec<(KeyId, V)>>,
    len: usize,
}

impl<V> Default for Sorted<V> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<V> Sorted<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All of them, in ascending order of IDs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyId, &V)> {
        self.pages.iter().flatten().map(|(id, value)| (*id, value))
    }

    pub(super) fn get(&self, id: KeyId) -> Option<&V> {
        let page = self.pages.get(self.page_of(id))?;
        place(page, id).ok().map(|at| &page[at].1)
    }

    pub(super) fn get_mut(&mut self, id: KeyId) -> Option<&mut V> {
        let at = self.page_of(id);
        let page = self.pages.get_mut(at)?;
        place(page, id).ok().map(|at| &mut page[at].1)
    }

    /// Adds a value, or replaces the one that is there.
    pub(super) fn insert(&mut self, id: KeyId, value: V) {
        let number = self.page_of(id);
        let Some(page) = self.pages.get_mut(number) else {
            self.pages.push(page_with((id, value)));
            self.len += 1;
            return;
        };
        let at = match place(page, id) {
            Ok(at) => {
                page[at].1 = value;
                return;
            }
            Err(at) => at,
        };
        self.len += 1;
        if page.len() < PAGE_ROWS {
            page.insert(at, (id, value));
            return;
        }
        if at == PAGE_ROWS {
            // What comes in order leaves full pages behind.
            self.pages.insert(number + 1, page_with((id, value)));
            return;
        }
        let mut after = page.split_off(PAGE_ROWS / 2);
        after.reserve_exact(PAGE_ROWS - after.len());
        match at.checked_sub(PAGE_ROWS / 2) {
            Some(at) => after.insert(at, (id, value)),
            None => page.insert(at, (id, value)),
        }
        self.pages.insert(number + 1, after);
    }

    pub(super) fn remove(&mut self, id: KeyId) {
        let number = self.page_of(id);
        let Some(page) = self.pages.get_mut(number) else { return };
        let Ok(at) = place(page, id) else { return };
        page.remove(at);
        self.len -= 1;
        if page.is_empty() {
            self.pages.remove(number);
        }
    }

    /// The page that has this ID, or belongs to it.
    fn page_of(&self, id: KeyId) -> usize {
        self.pages
            .partition_point(|page| page.first().is_some_and(|(first, _)| *first <= id))
            .saturating_sub(1)
    }
}

fn page_with<V>(first: (KeyId, V)) -> Vec<(KeyId, V)> {
    let mut page = Vec::with_capacity(PAGE_ROWS);
    page.push(first);
    page
}

fn place<V>(page: &[(KeyId, V)], id: KeyId) -> Result<usize, usize> {
    page.binary_search_by_key(&id, |(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_comes_in_order_fills_its_pages() {
        let mut rows = Sorted::default();
        (0..PAGE_ROWS as u128 * 3).for_each(|id| rows.insert(KeyId::from_u128(id), ()));
        assert_eq!(rows.pages.iter().map(Vec::len).collect::<Vec<_>>(), [PAGE_ROWS; 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_holds_what_a_plain_map_holds(
            changes in prop::collection::vec((0..3_000_u128, any::<u32>(), 0..4_u8), 0..6_000),
        ) {
            let (mut rows, mut plain) = (Sorted::default(), BTreeMap::new());
            for (id, value, kind) in changes {
                let id = KeyId::from_u128(id);
                if kind == 0 {
                    rows.remove(id);
                    plain.remove(&id);
                } else {
                    rows.insert(id, value);
                    plain.insert(id, value);
                }
                prop_assert_eq!(rows.get(id), plain.get(&id));
                prop_assert_eq!(rows.get_mut(id), plain.get_mut(&id));
            }
            prop_assert_eq!(rows.len(), plain.len());
            prop_assert!(rows.iter().eq(plain.iter().map(|(id, value)| (*id, value))));
            prop_assert!(rows.pages.iter().all(|page| (1..=PAGE_ROWS).contains(&page.len())));
        }
    }
}
