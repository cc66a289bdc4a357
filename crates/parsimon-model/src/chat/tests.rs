use parsimon_core::io::gguf::{Array, GgufWriter, Value as Entry};
use serde_json::json;

use super::*;

/// 26 July 2024, 09:08:07 UTC, a Friday.
const NOW_S: u64 = 1_721_984_887;

fn options(add_generation_prompt: bool) -> RenderOptions {
    RenderOptions { add_generation_prompt, now_s: NOW_S }
}

fn conversation() -> Vec<ChatMessage> {
    let said = [("system", "Be brief."), ("user", " Hi & <b> \n"), ("assistant", "Hello."), ("user", "Bye")];
    said.map(|(role, content)| ChatMessage::new(role, content)).into()
}

#[track_caller]
fn check(template: &str, messages: &[ChatMessage], generation: bool, expected: &str) {
    let template = ChatTemplate::try_new(template, "<s>", "</s>").unwrap();
    assert_eq!(template.render(messages, &options(generation)).unwrap(), expected);
}

const HEADERS: &str = "{{- bos_token }}
{%- set date = strftime_now('%d %b %Y') if strftime_now is defined else '' %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = '' %}
{%- endif %}
{{- '<|start|>system<|end|>\\n\\n' + 'Today: ' + date + '\\n' + system_message + '<|eot|>' }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
    {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
";

const IM: &str = "{%- if messages[0].role != 'system' %}
{{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
{%- endif %}
{% for message in messages %}
    {%- if loop.first and tools %}{{ tools | tojson }}{% endif -%}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content.strip() ~ '<|im_end|>' ~ '\\n' -}}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- endif %}
";

const INST: &str = "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages -%}
{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\\n\\n' %}{% continue %}{% endif %}
{%- if message['role'] == 'user' -%}
[INST] {{ ns.system + message['content'].rstrip() }} [/INST]{% set ns.system = '' %}
{%- elif message['role'] == 'assistant' -%}
{{ ' ' + message['content'] + eos_token }}
{%- else %}{{ raise_exception('Only user, assistant and system, not ' + message['role']) }}{% endif %}
{%- endfor %}";

const TURNS: &str = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}";

#[test]
fn templates_of_the_usual_forms_render() {
    let all = conversation();
    check(
        HEADERS,
        &all,
        true,
        "<s><|start|>system<|end|>\n\nToday: 26 Jul 2024\nBe brief.<|eot|><|start|>user<|end|>\n\nHi & <b><|eot|>\
         <|start|>assistant<|end|>\n\nHello.<|eot|><|start|>user<|end|>\n\nBye<|eot|><|start|>assistant<|end|>\n\n",
    );
    check(
        IM,
        &all[1..],
        true,
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nHi & <b><|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    );
    check(INST, &all, true, "<s>[INST] Be brief.\n\n Hi & <b> [/INST] Hello.</s>[INST] Bye [/INST]");
    check(
        TURNS,
        &all[1..],
        true,
        "<s><start_of_turn>user\nHi & <b><end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
         <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
    );
    check(TURNS, &all[1..2], false, "<s><start_of_turn>user\nHi & <b><end_of_turn>\n");
}

#[test]
fn a_template_says_what_it_refuses() {
    let refused = |source: &str, messages: &[ChatMessage]| {
        let template = ChatTemplate::try_new(source, "", "").unwrap();
        match template.render(messages, &options(true)).unwrap_err() {
            ChatError::Refused { reason } => reason,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(TURNS, &conversation()), "System role not supported");
    assert_eq!(refused(INST, &[ChatMessage::new("robot", "x")]), "Only user, assistant and system, not robot");
}

#[test]
fn wrong_and_endless_templates_are_errors() {
    let error = ChatTemplate::try_new("a\n{% if %}", "", "").unwrap_err();
    assert!(matches!(&error, ChatError::Template { reason, .. } if reason.contains(":2")), "{error}");
    let large = ChatTemplate::try_new(&"a".repeat(TEMPLATE_BYTES_MAX as usize + 1), "", "").unwrap_err();
    assert!(matches!(large, ChatError::TooLarge { .. }), "{large}");
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages.no.such }}",
    ] {
        let error = ChatTemplate::try_new(source, "", "").unwrap().render(&[], &options(true)).unwrap_err();
        assert!(matches!(error, ChatError::Template { .. }), "{error}");
    }
}

#[test]
fn json_in_templates_is_as_python_writes_it() {
    let said = [ChatMessage::new("user", "<é>\"")];
    check("{{ messages | tojson }}", &said, false, r#"[{"role": "user", "content": "<é>\""}]"#);
    let indented = "[\n  {\n    \"role\": \"user\",\n    \"content\": \"<é>\\\"\"\n  }\n]";
    check("{{ messages | tojson(indent=2) }}", &said, false, indented);
}

#[test]
fn a_folder_gives_its_template() {
    let dir = tempfile::tempdir().unwrap();
    let said = [ChatMessage::new("user", "x")];
    let rendered = || ChatTemplate::open(dir.path()).unwrap().render(&said, &options(true)).unwrap();
    assert_eq!(rendered(), "user: x\nassistant:");
    let config = |template: serde_json::Value| {
        let config =
            json!({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "chat_template": template});
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    };
    config(json!("{{ bos_token }}1{{ eos_token }}"));
    assert_eq!(rendered(), "<s>1</s>");
    config(json!([{"name": "tool_use", "template": "2"}, {"name": "default", "template": "3"}]));
    assert_eq!(rendered(), "3");
    config(json!([{"name": "tool_use", "template": "2"}]));
    assert_eq!(rendered(), "2");
    config(json!(null));
    let template = ChatTemplate::open(dir.path()).unwrap();
    assert_eq!((template.is_plain(), template.eos_token()), (true, Some("</s>")));
    std::fs::write(dir.path().join("chat_template.jinja"), "4\n").unwrap();
    assert_eq!(rendered(), "4");
    config(json!(5));
    assert!(matches!(ChatTemplate::open(dir.path()), Err(ChatError::Format(_))));
}

#[track_caller]
fn check_date(format: &str, seconds: u64, expected: &str) {
    assert_eq!(date::strftime(format, seconds), expected);
}

#[test]
fn dates_are_those_of_the_calendar() {
    check_date(
        "%Y-%m-%d %H:%M:%S %A %B %a %b %e %y %j %% %q %",
        NOW_S,
        "2024-07-26 09:08:07 Friday July Fri Jul 26 24 208 % %q %",
    );
    check_date("%F %T %a %j", 0, "1970-01-01 00:00:00 Thu 001");
    check_date("%F %j", 951_782_400, "2000-02-29 060");
    check_date("%F %j", 4_107_542_400, "2100-03-01 060");
    check_date("%F %j", 1_735_603_200, "2024-12-31 366");
    check_date("%F", u64::MAX, "9999-12-31");
}

#[test]
fn a_gguf_file_gives_its_template() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.gguf");
    let write = |template: Option<Entry<'static>>| {
        let mut writer = GgufWriter::new();
        writer.set("tokenizer.ggml.tokens", &Entry::Array(Array::of_strings(&["a", "<s>", "</s>"]))).unwrap();
        writer.set("tokenizer.ggml.bos_token_id", &Entry::U32(1)).unwrap();
        writer.set("tokenizer.ggml.eos_token_id", &Entry::U32(2)).unwrap();
        if let Some(template) = template {
            writer.set("tokenizer.chat_template", &template).unwrap();
        }
        writer.create(&file).unwrap().commit().unwrap();
    };
    let rendered = || {
        let template = ChatTemplate::open(&file)?;
        assert_eq!(template.eos_token(), Some("</s>"));
        template.render(&[ChatMessage::new("user", "x")], &options(true))
    };
    write(None);
    assert_eq!(rendered().unwrap(), "user: x\nassistant:");
    write(Some(Entry::String(b"{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")));
    assert_eq!(rendered().unwrap(), "<s>x</s>");
    write(Some(Entry::U32(1)));
    assert!(matches!(rendered(), Err(ChatError::Format(_))));
    std::fs::write(&file, "GGUF").unwrap();
    assert!(matches!(rendered(), Err(ChatError::Format(_))));
}
