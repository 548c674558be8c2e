use super::*;
use crate::primitives::vectors;

#[test]
fn files_are_as_they_were_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    directory.mark().unwrap();
    directory.watermark().unwrap().advance(300).unwrap();
    let read = |name| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("version"), b"mosaik store 1\n");
    vectors::check(|v| {
        v.bytes(
            "watermark",
            &read("watermark"),
            "2c01 00*6 a49fa26726afc532",
        );
    });
    assert_eq!(directory.database(), dir.path().join("store.redb"));
    let key = SecretKey::from_bytes(&[3; 32]);
    let text = format!(
        "{}\n{}\n",
        "03".repeat(32),
        hex::encode(key.public().as_bytes())
    );
    fs::write(dir.path().join("secret.key"), text).unwrap();
    let read = directory.secret_key_or_create().unwrap();
    assert_eq!(read.to_bytes(), key.to_bytes());
}
