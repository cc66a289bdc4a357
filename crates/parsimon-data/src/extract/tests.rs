use proptest::prelude::*;

use super::*;

fn extract(html: &str) -> Extracted {
    Extractor::new(Profile::Balanced).extract(&Document::parse(html.as_bytes(), None))
}

#[track_caller]
fn check(html: &str, expected: &str) {
    assert_eq!(extract(&format!("<main>{html}</main>")).text, expected);
}

#[test]
fn blocks_and_white_space() {
    check("  a \n b&nbsp;<b>c</b>d <p>e<p> f", "a b cd\ne\nf");
    check("a<br> b<br><br>c", "a\nb\nc");
    check("<h1>T</h1>x<div>y<div>z</div></div>w", "T\nx\ny\nz\nw");
    check("<ul><li>a<li><p>b</p><p>c</p><ol><li>d<li>e</ol></ul>f", "- a\n- b\nc\n  1. d\n  2. e\nf");
    check("<ol start=7><li>a</ol>", "7. a");
    check("<dl><dt>a<dd>b</dl>", "a\nb");
    check("x<sup>2</sup> a<wbr>b <code>c</code>.", "x2 ab c.");
    let long = "a sentence that is longer than fifty bytes, written two times";
    check(&format!("<p>{long}<p>{long}<p>short<p>short"), &format!("{long}\nshort\nshort"));
    check("", "");
}

#[test]
fn code_and_tables_are_spans() {
    let page = extract(
        "<main><p>x<pre><code class=language-rust>\n  let a;\n\n  b\n</code></pre><table><tr><th>h<th>i<tr><td>1<td><p>2</p><p>3</p></table>y",
    );
    assert_eq!(page.text, "x\n  let a;\n\n  b\nh | i\n1 | 2 3\ny");
    let spans: Vec<_> =
        page.spans.iter().map(|span| (span.kind, &page.text[span.range()], span.lang.as_deref())).collect();
    assert_eq!(spans, [(SpanKind::Code, "  let a;\n\n  b", Some("rust")), (SpanKind::Table, "h | i\n1 | 2 3", None)]);
    // A table that lays out blocks is none.
    let layout = extract("<main><table><tr><td><h1>T</h1>a<td><table><tr><td>1<td>2</table></table>");
    assert_eq!(layout.text, "T\na\n1 | 2");
    assert_eq!(layout.spans.len(), 1);
    assert_eq!(extract("<main><pre>a<div>b</div>c<br>d").text, "a\nb\nc\nd");
}

#[test]
fn what_is_not_content() {
    check("a<nav>n</nav><script>s</script><style>t</style><button>b</button><svg><text>v</text></svg>c", "a\nc");
    check("a<p hidden>n<p style='color:red; display : none'>n<p aria-hidden=true>n<p role=navigation>n<p>c", "a\nc");
    check("a<div class='x social-share'>n</div><div id=relatedPosts>n</div><div class=shareholder>c</div>", "a\nc");
    check("a<ul><li><a href=1>one</a><li><a href=2>two</a><li><a href=3>three</a></ul>c", "a\nc");
    check("<header><h1>T</h1></header><header>n</header>c", "T\nc");
    // Whatever it is called, what holds nearly everything is content.
    check(
        "<div class=sidebar>long enough to be nearly all of the text</div>c",
        "long enough to be nearly all of the text\nc",
    );
}

#[test]
fn candidates() {
    let prose = "Bees fly from flower to flower, carry what they find, and come home in the evening. ".repeat(4);
    let cases = [
        (format!("<body><div>menu</div><article>{prose}</article><main>other</main>"), Root::Semantic),
        (format!("<body><div>menu</div><div itemprop=articleBody>{prose}</div><article>x</article>"), Root::Semantic),
        (format!("<body><div>menu</div><div><p>{prose}<p>{prose}x</div>"), Root::Density),
        ("<body>few words".to_owned(), Root::Body),
        (format!("<section id=main-content>{prose}</section><p>menu"), Root::Rustdoc),
        (format!("<div id=mdbook-content><main>{prose}</main></div><p>menu"), Root::MdBook),
    ];
    for (html, root) in cases {
        let page = extract(&html);
        assert_eq!(page.root, root, "{html}");
        assert!(!page.text.contains("menu"), "{}", page.text);
        assert!(root == Root::Body || page.text.starts_with("Bees"), "{}", page.text);
    }
}

#[test]
fn documentation_generators() {
    let rustdoc = r##"<section id="main-content"><div class="main-heading"><div class="rustdoc-breadcrumbs"><a>std</a></div>
        <h1>Enum <span>Option</span>&nbsp;<button>Copy</button></h1><span class="sub-heading">1.0.0 · <a class="src">Source</a></span></div>
        <details><summary class="hideme"><span>Expand description</span></summary><div class="docblock"><p>The type.</p></div></details>
        <h2>Methods<a href="#m" class="anchor">§</a></h2><details class="method-toggle"><summary><section class="method">
        <h4 class="code-header">pub fn <a>f</a>() -&gt; T<div class="where">where
            T: Copy,</div></h4></section></summary><div class="docblock"><p>Does f.</p></div></details>
        <details class="method-toggle"><summary><section class="method trait-impl"><h4 class="code-header">fn clone()</h4></section></summary>
        <div class="docblock">Clones. <a href="x">Read more</a></div></details></section>"##;
    let page = extract(rustdoc);
    assert_eq!(page.text, "Enum Option\nThe type.\nMethods\npub fn f() -> T where T: Copy,\nDoes f.");
    assert_eq!(&page.text[page.spans[0].range()], "pub fn f() -> T where T: Copy,");
    let mdbook = r##"<div id="mdbook-content"><main><h1><a class="header" href="#a">Title</a></h1><pre><code class="language-rust"><span
        class="boring">fn main() {
</span>let s = 1;
<span class="boring">}</span></code></pre></main><nav class="nav-wrapper">next</nav></div>"##;
    assert_eq!(extract(mdbook).text, "Title\nlet s = 1;");
}

#[test]
fn metadata() {
    let page = extract(
        "<html lang=en><title> A \n title</title><link rel=canonical href=/x><meta name=robots content=noai><main>a<svg><title>no</title></svg>
         <a rel='nofollow license' href=https://l.example/>l</a>",
    );
    let expected = Metadata {
        title: Some("A title".into()),
        lang: Some("en".into()),
        canonical: Some("/x".into()),
        license: Some("https://l.example/".into()),
        robots: Some("noai".into()),
    };
    assert_eq!(page.metadata, expected);
    assert_eq!(extract("<meta property=og:title content=T>").metadata.title.as_deref(), Some("T"));
}

#[test]
fn raw_takes_all_that_is_visible() {
    let page = Document::parse(b"<title>t</title><nav>a</nav><main>b</main><script>s</script><footer>c</footer>", None);
    assert_eq!(Extractor::new(Profile::Raw).extract(&page).text, "a\nb\nc");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Tag soup: spans lie in the text, in order, on character boundaries; no line is empty outside code.
    #[test]
    fn spans_fit_the_text(parts in proptest::collection::vec((0usize..16, any::<bool>(), "[a-zé \n]{0,8}"), 0..60)) {
        const NAMES: [&str; 16] = ["p", "a href=x", "b", "table", "tr", "td", "div", "pre", "code", "ul", "li", "br", "main", "article",
            "section", "h4 class=code-header"];
        let html: String = parts.iter().map(|(name, open, text)| {
            let name = if *open { NAMES[*name] } else { NAMES[*name].split(' ').next().unwrap() };
            format!("<{}{name}>{text}", if *open { "" } else { "/" })
        }).collect();
        for html in [html.clone(), format!("<section id=main-content>{html}")] {
            let page = extract(&html);
            let mut end = 0;
            for span in &page.spans {
                prop_assert!(span.start >= end && span.end > span.start, "{:?}", page);
                prop_assert!(page.text.get(span.range()).is_some());
                end = span.end;
            }
        }
    }
}
