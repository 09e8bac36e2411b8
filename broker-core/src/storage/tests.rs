use proptest::prelude::*;

use super::*;

/// One conformance suite for every implementation.
fn conforms(storage: &dyn Storage, root: &Path) {
    let dir = root.join("a/b");
    assert!(!storage.exists(&dir).unwrap());
    storage.create_dir_all(&dir).unwrap();
    storage.create_dir_all(&dir).unwrap();
    assert!(storage.exists(&dir).unwrap());
    let path = dir.join("file");
    assert_eq!(storage.open(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(read_file(storage, &path).unwrap(), None);
    let file = storage.open_or_create(&path).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(0, b"hello world").unwrap();
    file.write_at(6, b"W").unwrap();
    assert_eq!(&file.read_at(0, 100).unwrap()[..], b"hello World");
    assert_eq!(&file.read_at(6, 2).unwrap()[..], b"Wo");
    assert!(file.read_at(11, 5).unwrap().is_empty());
    assert!(file.read_at(1 << 40, 1 << 30).unwrap().is_empty());
    file.truncate(5).unwrap();
    file.truncate(7).unwrap();
    file.write_at(9, b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(&storage.open(&path).unwrap().read_at(0, 100).unwrap()[..], b"hello\0\0\0\0!");
    assert_eq!(storage.open_or_create(&path).unwrap().len().unwrap(), 10);

    let listed = storage.list_dir(&dir).unwrap();
    assert_eq!(listed, [DirectoryEntry { name: "file".into(), is_directory: false, len: 10 }]);
    let above = storage.list_dir(&root.join("a")).unwrap();
    assert_eq!(above, [DirectoryEntry { name: "b".into(), is_directory: true, len: 0 }]);
    assert_eq!(storage.list_dir(&root.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);

    let other = dir.join("other");
    storage.open_or_create(&other).unwrap();
    storage.rename(&path, &other).unwrap();
    assert_eq!(storage.list_dir(&dir).unwrap().len(), 1);
    assert_eq!(storage.open(&other).unwrap().len().unwrap(), 10);
    assert_eq!(storage.rename(&path, &other).unwrap_err().kind(), io::ErrorKind::NotFound);
    storage.sync_dir(&dir).unwrap();
    write_file_atomically(storage, &other, b"new").unwrap();
    assert_eq!(read_file(storage, &other).unwrap().as_deref(), Some(&b"new"[..]));
    let open = storage.open(&other).unwrap();
    storage.remove_file(&other).unwrap();
    assert_eq!(&open.read_at(0, 9).unwrap()[..], b"new");
    assert_eq!(storage.remove_file(&other).unwrap_err().kind(), io::ErrorKind::NotFound);
    storage.open_or_create(&other).unwrap();
    storage.remove_dir_all(&root.join("a")).unwrap();
    assert!(!storage.exists(&other).unwrap());
}

#[test]
fn every_storage_conforms() {
    conforms(&MemStorage::new(), Path::new("/data"));
    conforms(&faulty::FaultyStorage::new(), Path::new("/data"));
    let place = tempfile::tempdir().unwrap();
    conforms(&FsStorage::new(), place.path());
}

#[test]
fn full_chunks_are_read_without_a_copy() {
    let storage = MemStorage::new();
    let file = storage.open_or_create(Path::new("/f")).unwrap();
    file.write_at(0, &[7; 5000]).unwrap();
    let first = file.read_at(10, 100).unwrap();
    let second = file.read_at(10, 100).unwrap();
    assert_eq!(first.as_ptr(), second.as_ptr());
    // Growth moves nothing.
    file.write_at(5000, &[8; 500_000]).unwrap();
    assert_eq!(file.read_at(10, 100).unwrap().as_ptr(), first.as_ptr());
}

proptest! {
    #[test]
    fn a_file_in_memory_is_a_vector(
        steps in prop::collection::vec((0..3u8, 0..40_000usize, 0..30_000usize), 1..30),
    ) {
        let storage = MemStorage::new();
        let file = storage.open_or_create(Path::new("/f")).unwrap();
        let mut model: Vec<u8> = Vec::new();
        for (n, (kind, at, len)) in steps.into_iter().enumerate() {
            match kind {
                0 => {
                    let data = vec![n as u8 + 1; len];
                    file.write_at(model.len() as u64, &data).unwrap();
                    model.extend(data);
                }
                1 => {
                    let data = vec![n as u8 + 1; len];
                    file.write_at(at as u64, &data).unwrap();
                    if !data.is_empty() || at > model.len() {
                        let end = model.len().max(at + len);
                        model.resize(end, 0);
                        model[at..at + len].copy_from_slice(&data);
                    }
                }
                _ => {
                    file.truncate(at as u64).unwrap();
                    model.resize(at, 0);
                }
            }
            prop_assert_eq!(file.len().unwrap(), model.len() as u64);
            let from = at.min(model.len());
            let until = (from + len).min(model.len());
            prop_assert_eq!(&file.read_at(at as u64, len).unwrap()[..], &model[from..until]);
        }
        prop_assert_eq!(&file.read_at(0, usize::MAX >> 1).unwrap()[..], &model[..]);
    }
}
