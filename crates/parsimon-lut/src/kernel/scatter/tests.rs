use super::*;

#[test]
fn every_element_belongs_to_one_range() {
    for (n, m, width) in [(0, 3, 2), (1, 5, 5), (3, 70, 32), (2, 64, 64)] {
        let mut out = vec![0.0; n * m];
        for (i, mut columns) in split_columns(&mut out, m, width).into_iter().enumerate() {
            for t in 0..n {
                for (j, y) in columns.row(t).iter_mut().enumerate() {
                    *y += (t * m + i * width + j) as f32 + 1.0;
                }
            }
        }
        let expected: Vec<f32> = (0..n * m).map(|i| i as f32 + 1.0).collect();
        assert_eq!(out, expected);
    }
}

#[test]
#[should_panic(expected = "row 2 of 2")]
fn rows_beyond_the_output_are_refused() {
    split_columns(&mut [0.0; 6], 3, 2)[0].row(2);
}
