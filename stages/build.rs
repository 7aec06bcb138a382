//! Makes the code fingerprint of every kind, and of the checks for leaks, from the tokens of the modules that it reaches and the versions of
//! the libraries that these name. Knows nothing of what the code does.
//!
//! Comments, documentation, white space and tests are left out, so that touching them reruns nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};

/// Libraries that cannot change what a stage writes, only how it fails or logs.
const WITHOUT_EFFECT: [&str; 2] = ["anyhow", "tracing"];

/// The module of the checks for leaks, whose findings are remembered.
const CHECKS: &str = "leakage";

/// A module: its crate (`stages` or `torch`) and its path within, such as `kinds::filter`.
type ModuleId = (&'static str, String);

/// What a source file holds, as far as fingerprints need it.
struct Module {
    digest: String,
    children: BTreeSet<String>,
    paths: BTreeSet<Vec<String>>,
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed={}", root.display());
    println!("cargo::rerun-if-changed={}", root.join("../Cargo.lock").display());
    let mut modules = BTreeMap::new();
    read_modules(&root, &root, "stages", &mut modules);
    read_modules(&root.join("torch/src"), &root.join("torch/src"), "torch", &mut modules);
    let libraries = libraries(&root);
    let mut table = String::from("&[\n");
    let of_kinds = kinds(&modules).into_iter().map(|kind| (roots(&kind, &modules), kind));
    let of_checks = (vec![("stages", CHECKS.to_owned())], CHECKS.to_owned());
    for (roots, name) in of_kinds.chain([of_checks]) {
        let parts = parts(roots, &modules, &libraries);
        writeln!(table, "({name:?}, {:?}, &{:?}),", whole(&parts), parts).expect("a string takes it");
    }
    table.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("fingerprints.rs");
    fs::write(&out, table).unwrap_or_else(|error| panic!("`{}`: {error}", out.display()));
}

/// The names of the kinds: the modules below `kinds`.
fn kinds(modules: &BTreeMap<ModuleId, Module>) -> Vec<String> {
    let names = modules.keys().filter(|(krate, _)| *krate == "stages");
    let names = names.filter_map(|(_, path)| path.strip_prefix("kinds::"));
    // What lies deeper is a part of its kind.
    names.filter(|name| !name.contains("::")).map(str::to_owned).collect()
}

/// The modules that a kind begins in.
fn roots(kind: &str, modules: &BTreeMap<ModuleId, Module>) -> Vec<ModuleId> {
    let torch = modules.keys().find(|(krate, path)| *krate == "torch" && path == kind);
    [("stages", format!("kinds::{kind}"))].into_iter().chain(torch.cloned()).collect()
}

/// Every module and library that some modules reach, with its digest or version.
fn parts(
    mut queue: Vec<ModuleId>,
    modules: &BTreeMap<ModuleId, Module>,
    libraries: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    while let Some(id) = queue.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let module = &modules[&id];
        found.insert(format!("{}::{}", id.0, id.1), module.digest.clone());
        for path in &module.paths {
            match reach(&id, module, path, modules) {
                Some(next) => queue.push(next),
                None => {
                    let library = path[0].replace('_', "-");
                    if let Some(version) = libraries.get(&library) {
                        found.insert(format!("library {library}"), version.clone());
                    }
                }
            }
        }
    }
    found.into_iter().collect()
}

/// The module that a path leads to, when it leads to one of ours.
fn reach(from: &ModuleId, module: &Module, path: &[String], modules: &BTreeMap<ModuleId, Module>) -> Option<ModuleId> {
    let (krate, segments) = match path[0].as_str() {
        "crate" => (from.0, path[1..].to_vec()),
        "pacer_stages" => ("stages", path[1..].to_vec()),
        "super" => {
            panic!("`{}::{}`: write `crate::` in place of `super::`, which hides what code reaches", from.0, from.1)
        }
        child if module.children.contains(child) => {
            let own = from.1.split("::").map(str::to_owned);
            (from.0, own.chain(path.iter().cloned()).collect())
        }
        _ => return None,
    };
    let longest = (1..=segments.len()).rev().map(|n| (krate, segments[..n].join("::")));
    let found = longest.into_iter().find(|id| modules.contains_key(id));
    let found = found.unwrap_or_else(|| panic!("`{}::{}`: no module in `{}`", from.0, from.1, path.join("::")));
    Some(found)
}

/// One digest over all parts.
fn whole(parts: &[(String, String)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in parts.iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Reads every source file below a folder; the crate roots only declare modules and are left out.
fn read_modules(root: &Path, folder: &Path, krate: &'static str, modules: &mut BTreeMap<ModuleId, Module>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("`{}`: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder that was opened can be listed").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "torch") {
            read_modules(root, &path, krate, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let within = path.strip_prefix(root).expect("it lies below").with_extension("");
            let id = within.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "::");
            if !["lib", "main", "build"].contains(&id.as_str()) {
                modules.insert((krate, id), read_module(&path));
            }
        }
    }
}

/// Parses a file, drops what has no effect and digests the rest.
fn read_module(path: &Path) -> Module {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    let mut file = syn::parse_file(&text).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    WithoutEffect.visit_file_mut(&mut file);
    let children = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(child) if child.content.is_none() => Some(child.ident.to_string()),
        _ => None,
    });
    let children = children.collect();
    let tokens = file.into_token_stream();
    let mut canonical = String::new();
    write_tokens(tokens.clone(), &mut canonical);
    let mut paths = BTreeSet::new();
    collect_paths(&tokens.into_iter().collect::<Vec<_>>(), &[], &mut paths);
    let digest = blake3::hash(canonical.as_bytes()).to_hex()[..16].to_owned();
    Module { digest, children, paths }
}

/// Removes documentation and tests from a syntax tree.
struct WithoutEffect;

impl WithoutEffect {
    fn is_test(attributes: &[syn::Attribute]) -> bool {
        attributes.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute.meta.to_token_stream().to_string().replace(' ', "") == "cfg(test)"
        })
    }
}

impl VisitMut for WithoutEffect {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| match item {
            syn::Item::Mod(item) => !Self::is_test(&item.attrs),
            syn::Item::Fn(item) => !Self::is_test(&item.attrs),
            syn::Item::Use(item) => !Self::is_test(&item.attrs),
            _ => true,
        });
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_attributes_mut(&mut self, attributes: &mut Vec<syn::Attribute>) {
        attributes.retain(|attribute| !attribute.path().is_ident("doc"));
    }
}

/// Writes tokens one by one, so that white space has no part in it.
fn write_tokens(tokens: TokenStream, out: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                write_tokens(group.stream(), out);
                out.push_str(close);
            }
            TokenTree::Punct(punct) => {
                out.push(punct.as_char());
                if punct.spacing() == Spacing::Alone {
                    out.push(' ');
                }
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                out.push_str(&token.to_string());
                out.push(' ');
            }
        }
    }
}

/// Collects every `a::b::c` and unfolds `a::{b, c}`.
fn collect_paths(tokens: &[TokenTree], prefix: &[String], paths: &mut BTreeSet<Vec<String>>) {
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(first) => {
                let mut path = prefix.to_vec();
                path.push(first.to_string());
                at += 1;
                while is_colons(tokens, at) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            collect_paths(&group.stream().into_iter().collect::<Vec<_>>(), &path, paths);
                        }
                        _ => break,
                    }
                    at += 3;
                }
                if path.len() > 1 {
                    paths.insert(path);
                }
            }
            TokenTree::Group(group) => {
                collect_paths(&group.stream().into_iter().collect::<Vec<_>>(), &[], paths);
                at += 1;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
        }
    }
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(tokens.get(at)) && colon(tokens.get(at + 1))
}

/// Versions, from the lock file, of the libraries that the crates depend on by name.
fn libraries(root: &Path) -> BTreeMap<String, String> {
    let read = |path: PathBuf| -> toml::Table {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
        text.parse().unwrap_or_else(|error| panic!("`{}`: {error}", path.display()))
    };
    let mut names = BTreeSet::new();
    for manifest in ["Cargo.toml", "torch/Cargo.toml"] {
        let manifest = read(root.join(manifest));
        names.extend(manifest["dependencies"].as_table().into_iter().flat_map(|table| table.keys().cloned()));
    }
    let lock = read(root.join("../Cargo.lock"));
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for package in lock["package"].as_array().into_iter().flatten() {
        let (Some(name), Some(version)) = (package["name"].as_str(), package["version"].as_str()) else { continue };
        if names.contains(name) && !WITHOUT_EFFECT.contains(&name) {
            let known = versions.entry(name.to_owned()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(version);
        }
    }
    versions
}
