use super::*;
use crate::Element;

fn space() -> Space {
    Space::new(Metric::L2, Element::U8, 8, None).expect("a space")
}

fn blobs(n: usize, centers: u64, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = SplitMix64::new(seed);
    let row = |i: usize, rng: &mut SplitMix64| {
        let mut around = SplitMix64::new(i as u64 % centers);
        let mut row: Vec<u8> =
            (0..8).map(|_| (40.0 + 160.0 * around.next_f64() + 6.0 * rng.next_normal()) as u8).collect();
        row.resize(16, 0);
        row
    };
    (0..n).map(|i| row(i, &mut rng)).collect()
}

/// Labels are the nearest of the returned medoids, medoids are members, and the same seed gives the same clusters.
#[test]
fn labels_refer_to_the_medoids() {
    let space = space();
    let rows = blobs(3000, 12, 3);
    let found = cluster(&space, rows.len(), &|i| rows[i].as_slice(), 12, 7);
    assert_eq!(found, cluster(&space, rows.len(), &|i| rows[i].as_slice(), 12, 7));
    for (row, &label) in rows.iter().zip(&found.labels) {
        let query = space.row_query(row);
        let distances: Vec<f32> = found.medoids.iter().map(|&m| space.distance(&query, &rows[m as usize])).collect();
        let least = distances.iter().copied().fold(f32::INFINITY, f32::min);
        assert_eq!(distances[label as usize], least);
    }
    // Twelve far blobs of 250: no cluster takes more than three of them.
    let mut counts = vec![0; found.medoids.len()];
    found.labels.iter().for_each(|&label| counts[label as usize] += 1);
    assert!(counts.iter().all(|&count| count <= 750), "{counts:?}");
}

#[test]
fn alike_rows_are_not_split() {
    let space = space();
    let row = blobs(1, 1, 1).remove(0);
    let rows: Vec<&[u8]> = vec![&row; 50];
    assert_eq!(split_in_two(&space, &rows, 1), None);
    assert_eq!(split_in_two(&space, &[], 1), None);
    assert_eq!(medoid(&space, &[]), None);
    assert_eq!(medoid(&space, &rows), Some(0));
}

/// Scaling all vectors changes no label: the balance comes from the data.
#[test]
fn scaling_changes_nothing() {
    let float = Space::new(Metric::L2, Element::F32, 8, None).expect("a space");
    let rows = blobs(400, 3, 9);
    let scaled = |factor: f32| -> Vec<Vec<u8>> {
        let scale = |row: &Vec<u8>| row[..8].iter().flat_map(|&v| (f32::from(v) * factor).to_le_bytes()).collect();
        rows.iter().map(scale).collect()
    };
    let labels = |rows: &[Vec<u8>]| cluster(&float, rows.len(), &|i| rows[i].as_slice(), 4, 2);
    assert_eq!(labels(&scaled(1.0)), labels(&scaled(0.25)));
}
