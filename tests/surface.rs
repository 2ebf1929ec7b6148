//! The public face of the library, held against `tests/surface.txt`: what the root of the crate names, with the fields,
//! variants and methods of each. A change of it is seen in review; `SURFACE=write cargo test --test surface` writes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Fields, ImplItem, Item, ReturnType, TraitItem, Type, UseTree, Visibility};

const SNAPSHOT: &str = "tests/surface.txt";

/// A module, and a name that it exports.
type Name = (String, String);

#[test]
fn the_public_face_is_the_recorded_one() {
    let mut lines = BTreeSet::new();
    for (module, name) in exports(Path::new("src/lib.rs")) {
        let before = lines.len();
        let dir = Path::new("src").join(&module);
        let inside = exports(&dir.join("mod.rs"));
        let home = inside.iter().find(|(_, exported)| *exported == name);
        for file in sources(&dir) {
            let place = file.strip_prefix(&dir).unwrap().iter().next().unwrap();
            let is_home =
                home.is_none_or(|(home, _)| Path::new(place).file_stem() == Some(home.as_ref()));
            for item in parse(&file).items {
                // Methods may stand elsewhere; another type of the same name is not exported.
                if is_home || matches!(item, Item::Impl(_)) {
                    describe(&item, &name, &mut lines);
                }
            }
        }
        assert!(
            lines.len() > before,
            "`{name}` is not to be found in src/{module}"
        );
    }
    let found = lines
        .into_iter()
        .map(|line| line + "\n")
        .collect::<String>();
    if std::env::var_os("SURFACE").is_some_and(|what| what == "write") {
        fs::write(SNAPSHOT, &found).unwrap();
    }
    let recorded = fs::read_to_string(SNAPSHOT).unwrap();
    let missing = |of: &str, from: &str| -> Vec<String> {
        let from: BTreeSet<_> = from.lines().collect();
        let gone = of.lines().filter(|line| !from.contains(line));
        gone.map(str::to_owned).collect()
    };
    assert!(
        found == recorded,
        "the public face has changed; record it with `SURFACE=write cargo test --test surface`\n\
         new: {:#?}\ngone: {:#?}",
        missing(&found, &recorded),
        missing(&recorded, &found)
    );
}

fn parse(path: &Path) -> syn::File {
    let text = fs::read_to_string(path).unwrap();
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut files: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.extend(dirs.iter().flat_map(|dir| sources(dir)));
    files
}

/// What a file exports of the modules below it, by the names that these know.
fn exports(path: &Path) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    for item in parse(path).items {
        if let Item::Use(item) = item
            && is_public(&item.vis)
            && let UseTree::Path(path) = &item.tree
        {
            leaves(&path.tree, &path.ident.to_string(), &mut names);
        }
    }
    names
}

fn leaves(tree: &UseTree, module: &str, names: &mut BTreeSet<Name>) {
    let name = match tree {
        UseTree::Path(path) => return leaves(&path.tree, module, names),
        UseTree::Group(group) => {
            return group
                .items
                .iter()
                .for_each(|item| leaves(item, module, names));
        }
        UseTree::Name(name) => &name.ident,
        UseTree::Rename(rename) => &rename.ident,
        UseTree::Glob(_) => panic!("a glob at the root hides what is public"),
    };
    names.insert((module.to_owned(), name.to_string()));
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Adds a line for each public thing that belongs to `name`.
fn describe(item: &Item, name: &str, lines: &mut BTreeSet<String>) {
    let wanted = |ident: &syn::Ident| ident == name;
    match item {
        Item::Struct(item) if is_public(&item.vis) && wanted(&item.ident) => {
            lines.insert(format!("struct {}", item.ident));
            for field in item.fields.iter().filter(|field| is_public(&field.vis)) {
                let name = field.ident.as_ref().map(ToString::to_string);
                let name = name.unwrap_or_else(|| "0".into());
                lines.insert(format!("{}.{name}: {}", item.ident, text(&field.ty)));
            }
        }
        Item::Enum(item) if is_public(&item.vis) && wanted(&item.ident) => {
            lines.insert(format!("enum {}", item.ident));
            for variant in &item.variants {
                let fields = match &variant.fields {
                    Fields::Unit => String::new(),
                    fields => {
                        let typed = |field: &syn::Field| match &field.ident {
                            Some(name) => format!("{name}: {}", text(&field.ty)),
                            None => text(&field.ty),
                        };
                        let fields: Vec<_> = fields.iter().map(typed).collect();
                        format!("({})", fields.join(", "))
                    }
                };
                lines.insert(format!("{}::{}{fields}", item.ident, variant.ident));
            }
        }
        Item::Type(item) if is_public(&item.vis) && wanted(&item.ident) => {
            lines.insert(format!("type {} = {}", item.ident, text(&item.ty)));
        }
        Item::Fn(item) if is_public(&item.vis) && wanted(&item.sig.ident) => {
            lines.insert(format!("fn {}", signature(&item.sig)));
        }
        Item::Trait(item) if is_public(&item.vis) && wanted(&item.ident) => {
            lines.insert(format!("trait {}", item.ident));
            for part in &item.items {
                if let TraitItem::Fn(function) = part {
                    lines.insert(format!("{}::{}", item.ident, signature(&function.sig)));
                }
            }
        }
        Item::Impl(item) => {
            let Type::Path(path) = &*item.self_ty else {
                return;
            };
            if !wanted(&path.path.segments.last().unwrap().ident) {
                return;
            }
            if let Some((_, of, _)) = &item.trait_ {
                lines.insert(format!("{name}: {}", text(of)));
                return;
            }
            for part in &item.items {
                match part {
                    ImplItem::Fn(function) if is_public(&function.vis) => {
                        lines.insert(format!("{name}::{}", signature(&function.sig)));
                    }
                    ImplItem::Const(constant) if is_public(&constant.vis) => {
                        lines.insert(format!(
                            "{name}::{}: {}",
                            constant.ident,
                            text(&constant.ty)
                        ));
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn signature(signature: &syn::Signature) -> String {
    let inputs: Vec<_> = signature.inputs.iter().map(text).collect();
    let output = match &signature.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, ty) => format!(" -> {}", text(ty)),
    };
    let asynchronous = if signature.asyncness.is_some() {
        "async "
    } else {
        ""
    };
    let generics = text(&signature.generics);
    format!(
        "{asynchronous}{}{generics}({}){output}",
        signature.ident,
        inputs.join(", ")
    )
}

/// Tokens with the spaces that a reader expects, roughly.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("& ", "&"),
        (" ,", ","),
        (" :", ":"),
        (" ;", ";"),
        ("( ", "("),
        (" (", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        ("' ", "'"),
        (",)", ")"),
    ] {
        text = text.replace(from, to);
    }
    text
}
