//! From web archives to training corpora: WARC, extraction, filters, deduplication, token shards (RedStone).
