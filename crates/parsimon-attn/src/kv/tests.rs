use super::*;

#[test]
fn a_cache_holds_what_rows_hold_whatever_the_chunks() {
    let heads = HeadMap::try_new(4, 2, 4).unwrap();
    let (d_qk, d_v, len) = (3, 2, 150);
    let k: Vec<f32> = (0..len * 2 * d_qk).map(|i| i as f32).collect();
    let v: Vec<f32> = (0..len * 4 * d_v).map(|i| -(i as f32)).collect();
    let rows = KvView::from_rows(heads, (d_qk, d_v), len, &k, &v).unwrap();
    for chunk in [1, 7, 64, 150] {
        let mut cache = KvCache::new(heads, d_qk, d_v);
        for t in (0..len).step_by(chunk) {
            let end = len.min(t + chunk);
            cache.append(&k[t * 2 * d_qk..end * 2 * d_qk], &v[t * 4 * d_v..end * 4 * d_v]).unwrap();
        }
        assert_eq!((cache.len(), cache.bytes()), (len, 4 * len * (2 * d_qk + 4 * d_v)));
        for t in 0..len {
            assert!((0..2).all(|h| cache.view().k(h, t) == rows.k(h, t)));
            assert!((0..4).all(|h| cache.view().v(h, t) == rows.v(h, t)));
        }
    }
}

#[test]
fn truncation_forgets_and_mismatched_rows_are_refused() {
    let heads = HeadMap::try_new(2, 1, 1).unwrap();
    let mut cache = KvCache::new(heads, 2, 2);
    cache.append(&[1.0; 6], &[1.0; 6]).unwrap();
    let error = AttnError::Shape { what: "v", expected: 4, actual: 2 };
    assert_eq!(cache.append(&[2.0; 4], &[2.0; 2]), Err(error));
    cache.truncate(1);
    cache.append(&[3.0; 2], &[3.0; 2]).unwrap();
    assert_eq!((cache.len(), cache.view().k(0, 1)), (2, [3.0; 2].as_slice()));
}
