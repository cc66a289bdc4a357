use super::*;

#[test]
fn presets_have_names_and_stable_hashes() {
    let recipe = Recipe::preset(Preset::from_name("demo").unwrap());
    assert_eq!(Preset::from_name("nothing"), None);
    assert_eq!(recipe.hash().unwrap(), recipe.clone().hash().unwrap());
    let changed = Recipe { seed: 2, ..recipe.clone() };
    assert_ne!(changed.hash().unwrap(), recipe.hash().unwrap());
    for (name, preset) in Preset::ALL {
        let recipe = Recipe::preset(preset);
        assert_eq!((recipe.preset.as_str(), Preset::from_name(name)), (name, Some(preset)));
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
    }
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
}

#[test]
fn recipes_in_toml() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    std::fs::write(dir.path().join("bad.txt"), "# hosts\nspam.example\n").unwrap();
    let check = |text: &str, part: &str| {
        std::fs::write(&path, text).unwrap();
        let message = Recipe::read(&path).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    check("stage = 3", "line 1");
    check("[[stage]]\nop = \"extarct\"", "extract");
    check("[[stage]]\nop = \"extract\"\nprofil = 1", "profil");
    check(
        "[[stage]]\nop = \"exact\"\n[[stage]]\nop = \"extract\"",
        "line 3: the stage `extract` cannot come after `exact`",
    );
    check("[[stage]]\nop = \"pack\"", "train_tokenizer");
    check("[[stage]]\nop = \"rules\"\npreset = \"no\"", "gopher-quality");
    check("[[stage]]\nop = \"minhash\"\nbands = 100000", "between 1 and 4096");
    check("[[stage]]\nop = \"url_filter\"\ndomains = \"none.txt\"", "none.txt");
    let text = r#"
        [run]
        seed = 7
        mode = "annotate"
        scope = "global"
        [[stage]]
        op = "url_filter"
        domains = "bad.txt"
        [[stage]]
        op = "extract"
        profile = "article"
        [[stage]]
        op = "lid"
        keep = ["en"]
        min = 0.65
        [[stage]]
        op = "rules"
        preset = "fineweb"
        [[stage]]
        op = "minhash"
        similarity_min = 0.8
        [[stage]]
        op = "pii"
        phone = true
    "#;
    std::fs::write(&path, text).unwrap();
    let recipe = Recipe::read(&path).unwrap();
    assert_eq!((recipe.preset.as_str(), recipe.seed, recipe.mode), ("mine", 7, Mode::Annotate));
    assert_eq!(recipe.url_filter.unwrap().domains, ["spam.example"]);
    assert_eq!(recipe.rules, Some(crate::rules::RulePreset::Fineweb));
    assert_eq!(recipe.dedup.near.unwrap().similarity_min, 0.8);
    assert!(recipe.pii.unwrap().phone && recipe.tokenizer.is_none() && !recipe.dedup.exact);
}
