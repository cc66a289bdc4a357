use super::*;

fn small() -> Tree<&'static str> {
    let mut tree = Tree::new("root");
    tree.expand(NodeId::ROOT, ["a", "b"]);
    tree.expand(NodeId(2), ["ba", "bb"]);
    tree
}

#[test]
fn tags_paths_and_backups_follow_the_tree() {
    let mut tree = small();
    assert_eq!(tree.tag(NodeId(4)), "0.2.2");
    assert_eq!(tree.path(NodeId(3)), [NodeId(0), NodeId(2), NodeId(3)]);
    tree.backup(NodeId(4), 1.0);
    tree.backup(NodeId(4), 0.0);
    assert_eq!((tree.node(NodeId::ROOT).visits, tree.node(NodeId(2)).q(), tree.node(NodeId(1)).visits), (2, 0.5, 0));
    assert_eq!(tree.node(NodeId(4)).first_value, 1.0);
    tree.assert_sound(true);
}

#[test]
fn exhaustion_climbs_when_all_children_are_done() {
    let mut tree = small();
    tree.exhaust(NodeId(3));
    assert!(!tree.node(NodeId(2)).exhausted);
    tree.exhaust(NodeId(4));
    assert!(tree.node(NodeId(2)).exhausted && !tree.node(NodeId::ROOT).exhausted);
    tree.exhaust(NodeId(1));
    assert!(tree.node(NodeId::ROOT).exhausted);
}

#[test]
fn a_pending_selection_lowers_the_mean_until_it_is_removed() {
    let mut tree = small();
    tree.backup(NodeId(1), 1.0);
    tree.backup(NodeId(2), 1.0);
    tree.pend(NodeId(1), 1);
    assert_eq!(tree.node(NodeId(1)).q(), 0.0);
    assert_eq!(tree.best_child(NodeId::ROOT, Rule::Standard, 1.0, |_| true), Some(NodeId(2)));
    tree.pend(NodeId(1), -1);
    assert_eq!(tree.best_child(NodeId::ROOT, Rule::Standard, 1.0, |_| true), Some(NodeId(1)));
}

#[test]
fn records_are_read_back() {
    let mut tree = small();
    tree.backup(NodeId(4), 0.5);
    let record = tree_record(&tree, "q", |_, text| ((*text).to_owned(), String::new()));
    let text = serde_json::to_string(&record).expect("serializes");
    let again = tree_from_record(&serde_json::from_str(&text).expect("parses")).expect("a tree");
    assert_eq!(again.len(), tree.len());
    for id in tree.ids() {
        assert_eq!(again.tag(id), tree.tag(id));
        assert_eq!(again.data(id).text, *tree.data(id));
        assert_eq!(again.node(id).value_sum, tree.node(id).value_sum);
    }
    let mut orphan = record.clone();
    let node = orphan.rstar.remove("0.2").expect("it is there");
    assert!(tree_from_record(&orphan).is_err());
    orphan.rstar.insert("0.2".into(), node);
    orphan.rstar["0.1"]["visit_count"] = serde_json::json!("many");
    assert!(tree_from_record(&orphan).is_err());
}
