//! Messages to a prompt, by the chat template of a model folder.

mod date;

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, Value, context};
use parsimon_core::Diagnose;
use parsimon_core::io::gguf::{Gguf, OpenOptions};
use parsimon_core::io::{FormatError, read_json};
use serde::{Deserialize, Serialize};

use crate::{Tokenizer, TokenizerError};

/// The largest template that is read.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
/// How many instructions a template may run, enough for thousands of messages.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat";

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message of a role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        ChatMessage { role: role.into(), content: content.into() }
    }
}

/// How a template is rendered, besides the messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenderOptions {
    /// Whether the prompt ends where the assistant's reply begins.
    pub add_generation_prompt: bool,
    /// What `strftime_now` says, in seconds since 1970 in UTC.
    pub now_s: u64,
}

/// The chat template of a model: a Jinja text as `transformers` uses it, or a plain form without one.
///
/// The plain form is one line a message, `role: text`, and `assistant:` where the reply begins.
///
/// ```
/// use parsimon_model::{ChatMessage, ChatTemplate, RenderOptions};
///
/// let template = ChatTemplate::try_new("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", "", "")?;
/// let options = RenderOptions { add_generation_prompt: true, now_s: 0 };
/// assert_eq!(template.render(&[ChatMessage::new("user", "Hi")], &options)?, "<user>Hi");
/// assert_eq!(ChatTemplate::plain().render(&[ChatMessage::new("user", "Hi")], &options)?, "user: Hi\nassistant:");
/// # Ok::<(), parsimon_model::ChatError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    file: PathBuf,
    /// `None` for the plain form.
    environment: Option<Environment<'static>>,
    bos_token: String,
    eos_token: String,
}

/// A chat template cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// `tokenizer_config.json` is no JSON of the expected form.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A file cannot be read.
    #[error("{}: cannot read the chat template: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The template is too large.
    #[error("{}: the chat template has {bytes} bytes, the limit is {limit}", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size.
        limit: u64,
    },
    /// The template is not valid Jinja, or fails on the messages.
    #[error("{}: the chat template fails: {reason}", file.display())]
    Template {
        /// The file.
        file: PathBuf,
        /// What the engine says, with the line.
        reason: String,
    },
    /// The template refuses the messages (`raise_exception`).
    #[error("the chat template refuses the messages: {reason}")]
    Refused {
        /// The template's own words.
        reason: String,
    },
    /// The prompt cannot be turned into tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl Diagnose for ChatError {
    fn file(&self) -> Option<&Path> {
        match self {
            ChatError::Format(e) => e.file(),
            ChatError::Tokenizer(e) => e.file(),
            ChatError::Io { file, .. } | ChatError::TooLarge { file, .. } | ChatError::Template { file, .. } => {
                Some(file)
            }
            ChatError::Refused { .. } => None,
        }
    }
}

/// What is read of `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Full { content: String },
}

impl Templates {
    /// The template named `default`, or the first.
    fn choose(self) -> Option<String> {
        match self {
            Templates::One(text) => Some(text),
            Templates::Named(mut list) => {
                let at = list.iter().position(|named| named.name == "default").unwrap_or(0);
                (at < list.len()).then(|| list.swap_remove(at).template)
            }
        }
    }
}

fn content(token: Option<SpecialToken>) -> String {
    match token {
        Some(SpecialToken::Text(text) | SpecialToken::Full { content: text }) => text,
        None => String::new(),
    }
}

impl ChatTemplate {
    /// The template of a model folder: `chat_template.jinja`, or `chat_template` of `tokenizer_config.json` (of several the one named
    /// `default`); of a `.gguf` file its `tokenizer.chat_template`; the plain form where there is none.
    ///
    /// # Errors
    ///
    /// [`ChatError`] when a file is there and cannot be read, or the template is not valid.
    pub fn open(folder: &Path) -> Result<Self, ChatError> {
        if folder.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return ChatTemplate::from_gguf(&Gguf::open(folder, &OpenOptions::default())?);
        }
        let config_file = folder.join("tokenizer_config.json");
        let config: TokenizerConfig =
            if config_file.exists() { read_json(&config_file)? } else { TokenizerConfig::default() };
        let (bos_token, eos_token) = (content(config.bos_token), content(config.eos_token));
        let file = folder.join("chat_template.jinja");
        let (file, source) = match read_template(&file)? {
            Some(source) => (file, Some(source)),
            None => (config_file, config.chat_template.and_then(Templates::choose)),
        };
        match source {
            Some(source) => ChatTemplate::compile(file, source, bos_token, eos_token),
            None => Ok(ChatTemplate { bos_token, eos_token, ..ChatTemplate::plain() }),
        }
    }

    /// The template of a GGUF file.
    ///
    /// # Errors
    ///
    /// [`ChatError`] when it is not valid.
    pub fn from_gguf(file: &Gguf) -> Result<Self, ChatError> {
        let token = |key: &str| -> Option<String> {
            let id = usize::try_from(file.get(key)?.as_u64()?).ok()?;
            let tokens = file.array("tokenizer.ggml.tokens").ok()?;
            Some(String::from_utf8_lossy(tokens.strings()?.nth(id)?).into_owned())
        };
        let bos_token = token("tokenizer.ggml.bos_token_id").unwrap_or_default();
        let eos_token = token("tokenizer.ggml.eos_token_id").unwrap_or_default();
        match file.get("tokenizer.chat_template") {
            Some(_) => {
                let source = file.str("tokenizer.chat_template")?.to_owned();
                ChatTemplate::compile(file.path().to_owned(), source, bos_token, eos_token)
            }
            None => Ok(ChatTemplate { bos_token, eos_token, ..ChatTemplate::plain() }),
        }
    }

    /// A template given as text, with the texts of the tokens that begin and end a sequence.
    ///
    /// # Errors
    ///
    /// [`ChatError::Template`] when it is not valid Jinja, [`ChatError::TooLarge`] above 1 MiB.
    pub fn try_new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, ChatError> {
        ChatTemplate::compile("chat_template".into(), source.into(), bos_token.into(), eos_token.into())
    }

    /// The plain form: `role: text`, one line a message.
    pub fn plain() -> Self {
        let file = PathBuf::from("chat_template");
        ChatTemplate { file, environment: None, bos_token: String::new(), eos_token: String::new() }
    }

    /// Whether this is the plain form.
    pub fn is_plain(&self) -> bool {
        self.environment.is_none()
    }

    /// The text of the token that ends a sequence, where `tokenizer_config.json` names it.
    pub fn eos_token(&self) -> Option<&str> {
        Some(self.eos_token.as_str()).filter(|token| !token.is_empty())
    }

    fn compile(file: PathBuf, source: String, bos_token: String, eos_token: String) -> Result<Self, ChatError> {
        let bytes = source.len() as u64;
        if bytes > TEMPLATE_BYTES_MAX {
            return Err(ChatError::TooLarge { file, bytes, limit: TEMPLATE_BYTES_MAX });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the usual delimiters are sound"));
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{reason}")))
        });
        match environment.add_template_owned(NAME, source) {
            Ok(()) => Ok(ChatTemplate { file, environment: Some(environment), bos_token, eos_token }),
            Err(e) => Err(ChatError::Template { file, reason: e.to_string() }),
        }
    }

    /// The prompt of a conversation.
    ///
    /// # Errors
    ///
    /// [`ChatError::Refused`] in the template's words, [`ChatError::Template`] when it fails.
    pub fn render(&self, messages: &[ChatMessage], options: &RenderOptions) -> Result<String, ChatError> {
        let Some(environment) = &self.environment else {
            let mut text: String = messages.iter().map(|m| format!("{}: {}\n", m.role, m.content)).collect();
            if options.add_generation_prompt {
                text.push_str("assistant:");
            }
            return Ok(text);
        };
        let now_s = options.now_s;
        let values = context! {
            messages => Value::from(Serde(messages)),
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            add_generation_prompt => options.add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
            strftime_now => Value::from_function(move |format: String| date::strftime(&format, now_s)),
        };
        let rendered = environment.get_template(NAME).and_then(|template| template.render(values));
        rendered.map_err(|e| match e.detail().and_then(|detail| detail.strip_prefix(REFUSED)) {
            Some(reason) => ChatError::Refused { reason: reason.to_owned() },
            None => ChatError::Template { file: self.file.clone(), reason: e.to_string() },
        })
    }

    /// The tokens of a conversation's prompt. A template writes the tokens that begin a sequence itself; the plain form gets those that
    /// the tokenizer adds.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`], and as [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        options: &RenderOptions,
    ) -> Result<Vec<u32>, ChatError> {
        Ok(tokenizer.encode(&self.render(messages, options)?, self.is_plain())?)
    }
}

/// Marks errors that the template itself raised.
const REFUSED: &str = "raise_exception: ";

fn read_template(file: &Path) -> Result<Option<String>, ChatError> {
    let io = |source| ChatError::Io { file: file.to_owned(), source };
    match std::fs::metadata(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(e)),
        Ok(metadata) if metadata.len() > TEMPLATE_BYTES_MAX => {
            Err(ChatError::TooLarge { file: file.to_owned(), bytes: metadata.len(), limit: TEMPLATE_BYTES_MAX })
        }
        Ok(_) => std::fs::read_to_string(file).map(Some).map_err(io),
    }
}

/// `tojson` as `transformers` has it: nothing is escaped for HTML, and an indent may be given.
fn to_json(value: &Value, options: minijinja::value::Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let failed = |e: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string());
    let Some(indent) = indent else {
        return python_json(&serde_json::to_value(value).map_err(failed)?).map_err(failed);
    };
    let spaces = " ".repeat(indent.min(16));
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// JSON on one line with a space after commas and colons, as Python writes it.
fn python_json(value: &serde_json::Value) -> Result<String, serde_json::Error> {
    Ok(match value {
        serde_json::Value::Array(list) => {
            let items: Result<Vec<String>, _> = list.iter().map(python_json).collect();
            format!("[{}]", items?.join(", "))
        }
        serde_json::Value::Object(map) => {
            let pair = |(key, value)| Ok(format!("{}: {}", serde_json::to_string(key)?, python_json(value)?));
            let pairs: Result<Vec<String>, serde_json::Error> = map.iter().map(pair).collect();
            format!("{{{}}}", pairs?.join(", "))
        }
        scalar => serde_json::to_string(scalar)?,
    })
}

#[cfg(test)]
mod tests;
