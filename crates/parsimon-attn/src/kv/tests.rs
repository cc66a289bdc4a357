use super::*;

fn shape(dtype: KvDtype) -> KvShape {
    KvShape { layers: 1, heads: HeadMap::try_new(4, 2, 4).unwrap(), d_qk: 3, d_v: 2, dtype }
}

/// `len` keys and values that tell where they stand.
fn rows(len: usize) -> (Vec<f32>, Vec<f32>) {
    let k = (0..len * 2 * 3).map(|i| i as f32 - 100.0).collect();
    (k, (0..len * 4 * 2).map(|i| 7.0 - (i as f32)).collect())
}

fn read(view: KvView<'_>) -> (Vec<f32>, Vec<f32>) {
    let (mut k, mut v) = (vec![0.0; view.len() * 2 * 3], vec![0.0; view.len() * 4 * 2]);
    for (i, k) in k.chunks_exact_mut(3).enumerate() {
        view.k_into(i % 2, i / 2, k);
    }
    for (i, v) in v.chunks_exact_mut(2).enumerate() {
        view.v_into(i % 4, i / 4, v);
    }
    (k, v)
}

fn append(pool: &mut KvPool, sequence: &mut KvSequence, (k, v): &(Vec<f32>, Vec<f32>), range: std::ops::Range<usize>) {
    pool.append(sequence, &k[range.start * 6..range.end * 6], &v[range.start * 8..range.end * 8]).unwrap();
}

#[test]
fn a_sequence_holds_what_rows_hold_whatever_the_chunks() {
    let rows = rows(150);
    let plain = KvView::from_rows(shape(KvDtype::F32).heads, (3, 2), 150, &rows.0, &rows.1).unwrap();
    assert_eq!(read(plain), rows);
    for dtype in KvDtype::ALL {
        // Of the largest number of a row, as the crate docs say.
        let tolerance = match dtype {
            KvDtype::F32 => 0.0,
            KvDtype::F16 => 2.0f32.powi(-11),
            KvDtype::Bf16 => 2.0f32.powi(-8),
            KvDtype::Int8 => 1.001 / 254.0,
        };
        for chunk in [1, 7, 64, 150] {
            let (mut pool, mut sequence) = (KvPool::new(shape(dtype), None), KvSequence::default());
            (0..150).step_by(chunk).for_each(|t| append(&mut pool, &mut sequence, &rows, t..150.min(t + chunk)));
            assert_eq!((sequence.len(), sequence.pages().len()), (150, 3));
            let (k, v) = read(pool.view(0, &sequence, 0));
            for (d, actual, expected) in [(3, k, &rows.0), (2, v, &rows.1)] {
                for (actual, expected) in actual.chunks_exact(d).zip(expected.chunks_exact(d)) {
                    let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    let error = actual.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
                    assert!(error <= tolerance * largest, "{dtype:?}: {actual:?} for {expected:?}");
                }
            }
        }
    }
}

#[test]
fn a_shared_page_is_copied_before_it_is_written() {
    let (all, other) = (rows(200), rows(300));
    for dtype in KvDtype::ALL {
        let (mut pool, mut first) = (KvPool::new(shape(dtype), Some(8)), KvSequence::default());
        append(&mut pool, &mut first, &all, 0..130);
        let kept = read(pool.view(0, &first, 0));
        // Two whole pages and the third, of which the second sequence keeps the first position.
        let mut second = pool.share(first.pages());
        pool.truncate(&mut second, 129);
        assert_eq!((pool.free_pages(), pool.owners(first.pages()[2])), (5, 2));
        assert_eq!(pool.pages_needed(&second, 1), 1);
        append(&mut pool, &mut second, &other, 200..210);
        assert_eq!((pool.free_pages(), pool.owners(first.pages()[2])), (4, 1));
        assert_eq!(read(pool.view(0, &first, 0)), kept);
        let (k, v) = read(pool.view(0, &second, 0));
        assert_eq!((&k[..129 * 6], &v[..129 * 8]), (&kept.0[..129 * 6], &kept.1[..129 * 8]));
        let mut alone = KvSequence::default();
        append(&mut pool, &mut alone, &other, 200..210);
        assert_eq!(read(pool.view(0, &alone, 0)), (k[129 * 6..].to_vec(), v[129 * 8..].to_vec()));
        for sequence in [&mut first, &mut second, &mut alone] {
            pool.truncate(sequence, 0);
        }
        assert_eq!(pool.free_pages(), 8);
    }
}

#[test]
fn truncation_forgets_and_mismatched_rows_are_refused() {
    let (mut pool, mut sequence) = (KvPool::new(shape(KvDtype::F32), None), KvSequence::default());
    pool.append(&mut sequence, &[1.0; 18], &[1.0; 24]).unwrap();
    let error = AttnError::Shape { what: "v", expected: 16, actual: 8 };
    assert_eq!(pool.append(&mut sequence, &[2.0; 12], &[2.0; 8]), Err(error));
    pool.truncate(&mut sequence, 1);
    pool.append(&mut sequence, &[3.0; 6], &[3.0; 8]).unwrap();
    let mut key = [0.0; 3];
    pool.view(0, &sequence, 0).k_into(0, 1, &mut key);
    assert_eq!((sequence.len(), key), (2, [3.0; 3]));
}

#[test]
fn a_full_pool_says_so_and_stays_as_it_is() {
    let (mut pool, mut sequence) = (KvPool::new(shape(KvDtype::F32), Some(2)), KvSequence::default());
    append(&mut pool, &mut sequence, &rows(100), 0..100);
    let error = AttnError::PoolFull { needed: 1, free: 0 };
    assert_eq!(pool.reserve(&mut sequence, 29), Err(error.clone()));
    assert_eq!(error.to_string(), "the cache is full: 1 more pages are needed, 0 are free");
    pool.reserve(&mut sequence, 28).unwrap();
    assert_eq!(sequence.len(), 100);
    assert_eq!(pool.page_bytes(), 64 * 4 * (2 * 3 + 4 * 2));
}
