use super::*;

#[test]
fn labels_are_read_back() {
    for (action, label) in Action::ALL.into_iter().zip(["A1", "A2", "A3", "A4", "A5"]) {
        assert_eq!(action.to_string(), label);
        assert_eq!(label.parse(), Ok(action));
    }
    for bad in ["", "a1", "A6", "A1 "] {
        assert_eq!(bad.parse::<Action>(), Err(ReasonError::UnknownAction { given: bad.into() }));
    }
}
