use proptest::prelude::*;

use super::*;

/// The tree as nested brackets: `p[b["x"]]`.
fn outline(page: &Document) -> String {
    let mut out = String::new();
    for event in page.walk(page.root()) {
        match event {
            Event::Enter(node) => match (page.tag(node), page.text(node)) {
                (Some(tag), _) => out.push_str(&format!("{tag}[")),
                (_, Some(text)) => out.push_str(&format!("{text:?}")),
                _ => {}
            },
            Event::Leave(node) if page.tag(node).is_some() => out.push(']'),
            Event::Leave(_) => {}
        }
    }
    out
}

#[track_caller]
fn check(html: &str, expected: &str) {
    let page = Document::parse(html.as_bytes(), Some("utf-8"));
    assert_eq!(outline(&page), expected);
    assert!(!page.is_truncated());
}

#[test]
fn trees() {
    check("", "html[head[]body[]]");
    check("<p>a<p>b<!-- c -->c", r#"html[head[]body[p["a"]p["b""c"]]]"#);
    check("<ul><li>a<li>b</ul>", r#"html[head[]body[ul[li["a"]li["b"]]]]"#);
    check("<table>x<tr><td>y", r#"html[head[]body["x"table[tbody[tr[td["y"]]]]]]"#);
    check("<b><p>x</b>y", r#"html[head[]body[b[]p[b["x"]"y"]]]"#);
    check("<template><p>x</template>y", r#"html[head[template[]]body["y"]]"#);
    check("a&amp;&copy\u{0}", "html[head[]body[\"a&\u{a9}\"]]");
    check("<svg><title>x</svg>", r#"html[head[]body[svg[title["x"]]]]"#);
    check("<script>a<b</script>c", r#"html[head[script["a<b"]]body["c"]]"#);
}

#[test]
fn attributes() {
    let page = Document::parse(b"<html lang=en><p id=a id=b class='x &amp; y' hidden><html lang=de title=t>", None);
    let find = |tag| {
        let enter = |event| if let Event::Enter(node) = event { Some(node) } else { None };
        page.walk(page.root()).filter_map(enter).find(|&node| page.tag(node) == Some(tag)).unwrap()
    };
    let (html, p) = (find("html"), find("p"));
    assert_eq!(page.attribute(p, "id"), Some("a"));
    assert_eq!(page.attribute(p, "class"), Some("x & y"));
    assert_eq!(page.attribute(p, "hidden"), Some(""));
    assert_eq!(page.attribute(p, "lang"), None);
    assert_eq!(page.attribute(html, "lang"), Some("en"));
    assert_eq!(page.attribute(html, "title"), Some("t"));
    assert_eq!(page.attribute(page.root(), "id"), None);
}

/// Hostile pages end, and say that they were cut; what comes behind a deep nest is still there.
#[test]
fn hostile_pages() {
    let deep = Document::parse(("<div>".repeat(200_000) + "bottom").as_bytes(), None);
    assert!(deep.is_truncated());
    assert!(deep.len() < 2_000);
    assert_eq!(deep.text_of(deep.root()), "bottom");
    let closed = "<div>".repeat(2_000) + "x" + &"</div>".repeat(2_000) + "<p>after";
    let outline = outline(&Document::parse(closed.as_bytes(), None));
    assert!(outline.ends_with(r#"p["after"]]]"#), "{outline}");

    let attributes: String = (0..300_000).map(|i| format!(" a{i}=1")).collect();
    let page = Document::parse(format!("<p>before<p{attributes}>after").as_bytes(), None);
    assert!(page.is_truncated());
    assert!(page.text_of(page.root()).starts_with("before"));
    let long_value = Document::parse(
        format!("<p>x<img src='data:{}'>y", "ABCDEFGHIJKLMNOPQRSTUVWXYZab/+".repeat(30_000)).as_bytes(),
        None,
    );
    assert!(!long_value.is_truncated());
    assert_eq!(long_value.text_of(long_value.root()), "xy");

    let formatting: String = (0..2_000).map(|i| format!("<p><b id={i}>")).collect();
    let page = Document::parse(formatting.as_bytes(), None);
    assert!(page.len() < NODES_MAX + 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_give_a_tree(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
        let page = Document::parse(&bytes, None);
        prop_assert_eq!(page.tag(page.first_child(page.root()).unwrap()), Some("html"));
    }

    /// Tags in any order and nesting: every walk enters and leaves each node once.
    #[test]
    fn tag_soup_gives_a_tree(tags in proptest::collection::vec((0usize..12, any::<bool>()), 0..80)) {
        const NAMES: [&str; 12] =
            ["p", "a", "b", "table", "tr", "td", "div", "select", "template", "svg", "math", "form"];
        let html: String = tags.iter().map(|&(name, open)| format!("<{}{}>t", if open { "" } else { "/" }, NAMES[name])).collect();
        let page = Document::parse(html.as_bytes(), None);
        let mut open = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for event in page.walk(page.root()) {
            match event {
                Event::Enter(node) => {
                    prop_assert!(seen.insert(node));
                    open.push(node);
                }
                Event::Leave(node) => prop_assert_eq!(open.pop(), Some(node)),
            }
        }
        prop_assert!(open.is_empty());
    }
}
