use super::*;

fn sample() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, 1, Timestamp::from_secs(1_800_000_000)).unwrap();
    writer.record(Record { table: Table::Meta, key: b"format", value: &[1; 8] }).unwrap();
    writer.record(Record { table: Table::Keys, key: &[7; 16], value: b"" }).unwrap();
    writer.record(Record { table: Table::Totals, key: &[1; 20], value: &[9; 32] }).unwrap();
    assert_eq!(writer.finish().unwrap().records, 3);
    bytes
}

type Owned = (Table, Vec<u8>, Vec<u8>);

fn read(bytes: &[u8]) -> Result<Vec<Owned>, BackupError> {
    let mut reader = Reader::open(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.record()? {
        records.push((record.table, record.key.to_vec(), record.value.to_vec()));
    }
    assert_eq!(reader.ended().map(|ended| ended.records), Some(records.len() as u64));
    Ok(records)
}

#[test]
fn a_backup_reads_back() {
    let records = read(&sample()).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records[1], (Table::Keys, vec![7; 16], Vec::new()));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = sample();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    let whole = sample();
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "cut at {end}");
    }
    let longer = [&whole[..], b"x"].concat();
    assert!(matches!(read(&longer), Err(BackupError::Long)));
}

#[test]
fn a_newer_form_and_a_foreign_file_are_told_from_damage() {
    let mut newer = sample();
    newer[8] = 2;
    assert!(matches!(read(&newer), Err(BackupError::TooNew { found: 2 })));
    assert!(matches!(read(b"{\"name\": \"ci\", \"secret\": 1}"), Err(BackupError::Foreign)));
    assert!(matches!(read(b""), Err(BackupError::Foreign)));
}
