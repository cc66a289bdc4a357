//! One form for the many ways to write an address.

use url::Url;
use xxhash_rust::xxh3::xxh3_128;

/// Parameters that say where a reader came from, not what the page is.
const TRACKING: [&str; 4] = ["fbclid", "gclid", "mc_cid", "mc_eid"];

/// The key of an address: host in lower case, no fragment, no default port, no tracking parameters, the others sorted, no slash at the
/// end. An address that is none is hashed as it is.
///
/// ```
/// use parsimon_data::dedup::url_key;
/// assert_eq!(url_key("HTTP://A.example:80/x/?b=2&utm_source=y&a=1#top"), url_key("http://a.example/x?a=1&b=2"));
/// ```
pub fn url_key(address: &str) -> u128 {
    let Ok(mut url) = Url::parse(address) else { return xxh3_128(address.as_bytes()) };
    url.set_fragment(None);
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    pairs.retain(|(name, _)| !name.starts_with("utm_") && !TRACKING.contains(&name.as_str()));
    pairs.sort();
    if pairs.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    xxh3_128(url.as_str().trim_end_matches('/').as_bytes())
}
