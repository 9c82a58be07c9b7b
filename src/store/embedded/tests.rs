//! What a store file must survive, and what it must refuse.

use std::fs;
use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::key::secret::{Algorithm, NewSecret, SecretHasher};
use crate::key::{Profile, SecretVersion, Switch};
use crate::outcome::Outcome as Ended;
use crate::store::Write;

pub(super) fn open(path: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(path, Peppering(&SecretHasher::new(None)))
}

pub(super) fn key(id: u128) -> Key {
    let secret = NewSecret::generate("pc", "live").unwrap();
    let at = Timestamp::from_secs(1_800_000_000);
    let profile = Profile {
        name: format!("key {id}"),
        description: String::new(),
        owner: Some("acme".into()),
        environment: "live".into(),
        tags: vec!["a".into()],
        metadata: "{}".into(),
        role: None,
        scopes: vec![crate::key::scope::Scope::parse("models:*").unwrap()],
        ip_allow: vec!["10.0.0.0/8".parse().unwrap()],
        limits: Vec::new(),
        quotas: Vec::new(),
        max_concurrent: None,
        expires_at: Some(at),
    };
    let version = SecretVersion {
        version: 1,
        digest: SecretHasher::new(None).digest(&secret),
        algorithm: Algorithm::Sha256,
        fingerprint: secret.fingerprint(),
        created_at: at,
        superseded: None,
    };
    Key {
        id: KeyId::from_u128(id),
        profile,
        switch: Switch::On,
        revoked: None,
        created_at: at,
        created_by: "test".into(),
        updated_at: at,
        rotated_at: None,
        versions: vec![version],
        revision: 0,
    }
}

pub(super) fn put(store: &EmbeddedStore, key: &Key) -> Revision {
    let draft = audit::Draft {
        at: key.created_at,
        actor: "test".into(),
        action: "key.create",
        target: key.id.to_string(),
        outcome: "done".into(),
        before: None,
        after: Some("{}".into()),
        address: None,
        request_id: None,
    };
    let mut change = Change { writes: vec![Write::PutKey(Box::new(key.clone()))], audit: vec![draft] };
    store.commit(&mut change).unwrap()
}

#[test]
fn keys_audit_and_revisions_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/store.redb");
    let first = open(&path).unwrap();
    let (id, opening) = (first.store_id(), first.opening());
    assert_eq!((put(&first, &key(1)), put(&first, &key(2))), (1, 2));
    drop(first);
    let again = open(&path).unwrap();
    assert_eq!((again.store_id(), again.opening()), (id, opening + 1));
    let stored = again.key(KeyId::from_u128(2)).unwrap().unwrap();
    assert_eq!((stored.profile.name.as_str(), stored.revision), ("key 2", 2));
    let mut entries = Vec::new();
    again
        .audit(Direction::Descending, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(entries[0].previous_hash, entries[1].hash);
    assert_eq!(entries[1].previous_hash, [0; 32]);
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    drop(open(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_whole_store_of_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = open(&path).unwrap();
    for id in 1..200 {
        put(&store, &key(id));
    }
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut scribbled = whole.clone();
    scribbled.iter_mut().skip(4096).step_by(97).for_each(|byte| *byte ^= 0x5a);
    let forms: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("foreign", b"SQLite format 3\0 and so on".to_vec()),
        ("cut short", whole[..whole.len() / 3].to_vec()),
        ("its magic alone", MAGIC_BYTES.to_vec()),
        ("scribbled over", scribbled),
    ];
    for (name, bytes) in forms {
        fs::write(&path, &bytes).unwrap();
        let error = open(&path).expect_err(name);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{name}: {error}");
        assert!(error.to_string().contains("store.redb"), "{name}: {error}");
        assert!(!error.to_string().contains('\n'), "{name}: {error}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(&path).unwrap().key_count().unwrap(), 199);
}

const MAGIC_BYTES: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let _held = open(&path).unwrap();
    assert!(matches!(open(&path), Err(StoreError::InUse { .. })));
}

#[test]
fn a_missing_or_other_pepper_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let open_with = |pepper: Option<&[u8]>| EmbeddedStore::open(&path, Peppering(&SecretHasher::new(pepper)));
    drop(open_with(Some(b"0123456789abcdef")).unwrap());
    assert!(matches!(open_with(None), Err(StoreError::Pepper { .. })));
    assert!(matches!(open_with(Some(b"another pepper here")), Err(StoreError::Pepper { .. })));
    open_with(Some(b"0123456789abcdef")).unwrap();
}

#[test]
fn a_merge_repeated_after_an_interruption_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.redb")).unwrap();
    let row = UsageKey { key: KeyId::from_u128(1), hour: 9, route: 0, outcome: Ended::Allowed, version: 1 };
    let at = Timestamp::from_secs(5);
    let counted = |generation, count| Counted { generation, row, count, first_used: at, last_used: at };
    assert_eq!(store.merge_usage(&[counted(1, 10)], Side::Alone).unwrap()[0].count, 10);
    assert_eq!(store.merge_usage(&[counted(1, 10)], Side::Alone).unwrap()[0].count, 0);
    assert_eq!(store.merge_usage(&[counted(2, 4)], Side::Alone).unwrap()[0].count, 4);
    assert_eq!(store.merged_count(&row, 2).unwrap(), Some(4));
    let totals = store.totals(row.key).unwrap();
    assert_eq!((totals[0].0, totals[0].1.requests, totals[0].1.last_used), (1, 14, Some(at)));
    let mut seen = Vec::new();
    let range = UsageRange { key: Some(row.key), from_hour: 0, to_hour: 100 };
    store
        .usage(range, &mut |row| {
            seen.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, [(row, 14)]);
}
