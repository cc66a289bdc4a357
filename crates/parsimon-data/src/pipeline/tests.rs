use super::*;

#[test]
fn presets_have_names_and_stable_hashes() {
    let recipe = Recipe::preset(Preset::from_name("demo").unwrap());
    assert_eq!(Preset::from_name("nothing"), None);
    assert_eq!(recipe.hash(), recipe.clone().hash());
    let changed = Recipe { seed: 2, ..recipe.clone() };
    assert_ne!(changed.hash(), recipe.hash());
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
}
