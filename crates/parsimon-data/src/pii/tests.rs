use super::*;
use crate::extract::SpanKind;

const ALL: PiiOptions = PiiOptions { email: true, ipv4: true, phone: true, card: true };

#[test]
fn kinds_and_what_is_none() {
    let check = |text: &str, expected: &str| {
        let (masked, _) = mask(text, &mut [], ALL);
        assert_eq!(masked, expected);
        assert_eq!(mask(&masked, &mut [], ALL).0, masked, "a second pass changes nothing");
    };
    check("a@b.co, c.d+e@f.g.org", "email@example.com, firstname.lastname@example.org");
    check("user@localhost @name a@b", "user@localhost @name a@b");
    check("10.0.0.1 127.0.0.1 192.168.1.1 1.1.1.1 999.1.1.1", "10.0.0.1 127.0.0.1 192.168.1.1 192.0.2.1 999.1.1.1");
    check("call +49 30 1234567 now", "call <phone> now");
    check("4111 1111 1111 1111 and 4111 1111 1111 1112", "<card> and 4111 1111 1111 1112");
}

#[test]
fn spans_move_along() {
    let text = "mail x@y.org then code";
    let mut spans = [Span { kind: SpanKind::Code, start: 18, end: 22, lang: None, display: None }];
    let (masked, _) = mask(text, &mut spans, ALL);
    assert_eq!(&masked[spans[0].range()], "code");
}
