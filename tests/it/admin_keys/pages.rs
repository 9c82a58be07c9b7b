//! Pages of keys: forwards and backwards, while keys come and go.

use serde_json::{Value, json};

use super::{invalid, path_of};
use crate::support::{Admin, Fixture};

fn page(admin: &Admin, query: &str, cursor: Option<&str>) -> Value {
    let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    let answer = admin.get(&format!("/api/v1/keys?{query}{cursor}"));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect()
}

/// Makes keys with these names, and gives their IDs in the same order.
fn make(admin: &Admin, keys: impl IntoIterator<Item = String>) -> Vec<String> {
    keys.into_iter().map(|name| admin.key(&json!({"name": name})).0).collect()
}

#[test]
fn every_order_pages_to_the_end_and_back() {
    let gateway = Fixture::new().start();
    let admin = &gateway.admin;
    // Pairs of one name, so that an order has ties.
    make(admin, (0..11).map(|n| format!("key {}", n / 2)));
    for sort in ["-created_at", "created_at", "name", "-last_used_at", "-requests"] {
        for filter in ["", "&q=key"] {
            let query = format!("sort={sort}&limit=4{filter}");
            let all = page(admin, &format!("sort={sort}&limit=200{filter}"), None);
            let mut pages = vec![page(admin, &query, None)];
            while let Some(cursor) = pages.last().unwrap()["next_cursor"].as_str() {
                let next = page(admin, &query, Some(cursor));
                pages.push(next);
            }
            let walked: Vec<_> = pages.iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
            assert_eq!(walked, all["items"].as_array().unwrap().iter().collect::<Vec<_>>(), "{query}");
            assert!(pages.iter().all(|page| page["total"] == 11), "{query}");
            assert_eq!(pages.len(), 3);
            assert!(pages[0]["prev_cursor"].is_null() && pages[1]["prev_cursor"].is_string(), "{query}");
            let second = page(admin, &query, pages[2]["prev_cursor"].as_str());
            assert_eq!(second["items"], pages[1]["items"], "{query}");
            let first = page(admin, &query, second["prev_cursor"].as_str());
            assert_eq!(first["items"], pages[0]["items"], "{query}");
            assert!(first["prev_cursor"].is_null() && second["next_cursor"].is_string(), "{query}");
            let forth = page(admin, &query, first["next_cursor"].as_str());
            assert_eq!(forth["items"], pages[1]["items"], "{query}");
        }
    }
}

#[test]
fn keys_that_come_and_go_neither_repeat_nor_hide_one() {
    let gateway = Fixture::new().start();
    let admin = &gateway.admin;
    for query in
        ["sort=-created_at&limit=3", "sort=created_at&limit=3", "sort=name&limit=3", "q=stays&limit=3"]
    {
        let ids = make(admin, (0..12).map(|n| format!("{n:02} stays")));
        let newest_first = query.contains("-created_at") || query.starts_with('q');
        let order: Vec<usize> = if newest_first { (0..12).rev().collect() } else { (0..12).collect() };
        let expected: Vec<String> = order.iter().map(|n| format!("{n:02} stays")).collect();
        let first = page(admin, query, None);
        assert_eq!(names(&first), expected[..3], "{query}");
        // The row that the cursor lies beside goes, one of the next page goes, and new ones come on either side.
        for gone in [order[2], order[4]] {
            assert_eq!(admin.call("DELETE", &path_of(&ids[gone]), &[], "").status, 204);
        }
        let new = make(admin, ["00 a new stays", "99 new stays"].map(str::to_owned));
        let second = page(admin, query, first["next_cursor"].as_str());
        let kept: Vec<&str> = [3, 5, 6].map(|n| expected[n].as_str()).into();
        assert_eq!(names(&second), kept, "{query}");
        assert_eq!(second["total"], 12, "{query}");
        let back = page(admin, query, second["prev_cursor"].as_str());
        let back = names(&back);
        assert!(
            back.ends_with(&[expected[0].as_str(), expected[1].as_str()][..]) || back.len() == 3,
            "{query}: {back:?}"
        );
        assert!(!back.iter().any(|name| kept.contains(name) || *name == expected[2]), "{query}: {back:?}");
        for id in ids.iter().chain(&new) {
            admin.call("DELETE", &path_of(id), &[], "");
        }
    }
}

#[test]
fn a_cursor_of_another_order_is_refused_and_one_of_this_order_survives_any_name() {
    let gateway = Fixture::new().start();
    let admin = &gateway.admin;
    make(admin, (0..3).map(|n| "𝔷ẞ%&=\"".chars().cycle().skip(n).take(200).collect()));
    let first = page(admin, "sort=name&limit=1", None);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)), "{cursor}");
    let second = page(admin, "sort=name&limit=1", Some(cursor));
    let third = page(admin, "sort=name&limit=1", second["next_cursor"].as_str());
    assert!(third["next_cursor"].is_null());
    let seen: std::collections::HashSet<_> =
        [&first, &second, &third].map(|page| names(page)[0].to_owned()).into();
    assert_eq!(seen.len(), 3);
    for (sort, cursor) in [("-created_at", cursor), ("name", &cursor[..20]), ("name", "o50")] {
        let answer = admin.get(&format!("/api/v1/keys?sort={sort}&cursor={cursor}"));
        assert_eq!(invalid(&answer), ["/cursor"], "{sort} {cursor}");
    }
}

#[test]
fn the_page_after_everything_was_deleted_is_empty() {
    let gateway = Fixture::new().start();
    let admin = &gateway.admin;
    let ids = make(admin, (0..4).map(|n| n.to_string()));
    for query in ["limit=2", "limit=2&sort=name"] {
        assert_eq!(names(&page(admin, query, None)).len(), 2);
    }
    let (newest, by_name) = (page(admin, "limit=2", None), page(admin, "limit=2&sort=name", None));
    for id in ids {
        assert_eq!(admin.call("DELETE", &path_of(&id), &[], "").status, 204);
    }
    for (query, before) in [("limit=2", newest), ("limit=2&sort=name", by_name)] {
        let after = page(admin, query, before["next_cursor"].as_str());
        assert_eq!((names(&after).len(), &after["total"]), (0, &json!(0)), "{query}");
        assert!(after["next_cursor"].is_null(), "{query}");
    }
}
