use super::*;

#[test]
fn the_header_is_byte_exact() {
    // What `numpy.save` writes for `numpy.zeros(5, dtype="<u2")`.
    let header = header::<u16>(&[5]);
    assert_eq!(header.len(), 128);
    assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert!(header[10..].starts_with(b"{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }"));
    assert_eq!(header.last(), Some(&b'\n'));
}

#[test]
fn arrays_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    for shape in [vec![], vec![6], vec![2, 3], vec![0, 3]] {
        let len: usize = shape.iter().product();
        let data: Vec<f32> = (0..len).map(|i| i as f32 - 2.5).collect();
        write_npy(&path, &shape, &data).unwrap();
        let read = NpyArray::open(&path).unwrap();
        assert_eq!(read.shape(), shape);
        assert_eq!(read.to_vec::<f32>().unwrap(), data);
        assert!(read.to_vec::<u16>().is_err());
    }
}

#[test]
fn every_truncation_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    write_npy(&path, &[3, 5], &[1u16; 15]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(NpyArray::open(&path).is_err(), "{len} of {} bytes", whole.len());
    }
}
