//! Trains the bundled language model: `train_lid train.tsv.gz lid.ftz`, where a line is `language<TAB>sentence`. Every tenth sentence of
//! a language is held out, and the share of them that is found is printed.

use std::collections::HashMap;
use std::io::Read;

use parsimon_data::lid;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (input, output) = (args.next().ok_or("no input")?, args.next().ok_or("no output")?);
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(input)?).read_to_string(&mut text)?;
    let (mut train, mut held_out, mut seen) = (Vec::new(), Vec::new(), HashMap::new());
    for (language, sentence) in text.lines().filter_map(|line| line.split_once('\t')) {
        let n = seen.entry(language).or_insert(0);
        *n += 1;
        let rows = if *n % 10 == 0 { &mut held_out } else { &mut train };
        rows.push((language.to_owned(), sentence.to_owned()));
    }
    // Languages come in blocks; a step must not see one for long.
    train.sort_by_key(|(_, sentence)| xxhash_rust::xxh3::xxh3_64(sentence.as_bytes()));
    let mut options = lid::train_options();
    for option in args {
        let (name, value) = option.split_once('=').ok_or("name=value")?;
        match name {
            "epochs" => options.epochs = value.parse()?,
            "lr" => options.lr = value.parse()?,
            "bucket" => options.bucket = value.parse()?,
            "minn" => options.minn = value.parse()?,
            "maxn" => options.maxn = value.parse()?,
            "dim" => options.dim = value.parse()?,
            _ => return Err("unknown option".into()),
        }
    }
    let model = lid::train(&train, &options)?;
    model.save(output.as_ref())?;
    println!(
        "{} sentences, {} held out, {:.4} of them found",
        train.len(),
        held_out.len(),
        lid::accuracy(&model, &held_out)
    );
    Ok(())
}
