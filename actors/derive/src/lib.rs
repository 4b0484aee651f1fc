//! The derive macro of `mcpbus-actors`: `#[derive(Message)]`.
//!
//! On the type: `#[message(name = "payment", version = 2, crate = path::to::mcpbus_actors)]`, all optional.
//! On one field: `#[message(key)]`, the field whose value is the key. On any field: `#[message(no_heap)]`, which
//! counts only the field's own size, for types that do not implement `HeapSize`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Data, DeriveInput, Error, Field, Fields, LitInt, LitStr, Path, Result, parse_macro_input,
};

/// Implements `Message` and `HeapSize`: kind from name, version and fields, weight from the fields, key from the
/// field marked `#[message(key)]`.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

struct TypeOptions {
    name: String,
    version: u16,
    root: Path,
}

fn type_options(input: &DeriveInput) -> Result<TypeOptions> {
    let mut options = TypeOptions {
        name: input.ident.to_string(),
        version: 1,
        root: crate_path(),
    };
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("message"))
    {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() {
                    return Err(Error::new(
                        name.span(),
                        "the name of a message must not be empty",
                    ));
                }
                options.name = name.value();
                Ok(())
            } else if meta.path.is_ident("version") {
                options.version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
                Ok(())
            } else if meta.path.is_ident("crate") {
                options.root = meta.value()?.parse()?;
                Ok(())
            } else {
                Err(meta.error("unknown option; known are `name`, `version`, `crate`"))
            }
        })?;
    }
    Ok(options)
}

#[derive(Default)]
struct FieldOptions {
    key: bool,
    no_heap: bool,
}

fn field_options(field: &Field) -> Result<FieldOptions> {
    let mut options = FieldOptions::default();
    for attribute in field
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("message"))
    {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("key") {
                options.key = true;
                Ok(())
            } else if meta.path.is_ident("no_heap") {
                options.no_heap = true;
                Ok(())
            } else {
                Err(meta.error("unknown option; known are `key`, `no_heap`"))
            }
        })?;
    }
    Ok(options)
}

/// The parts of one struct or one enum variant.
struct Shape {
    text: String,
    pattern: TokenStream,
    heap: TokenStream,
    owns_nothing: TokenStream,
    key: Option<TokenStream>,
}

fn shape(fields: &Fields, root: &Path) -> Result<Shape> {
    let mut text = String::new();
    let mut bindings = Vec::new();
    let mut heap = Vec::new();
    let mut owns_nothing = Vec::new();
    let mut key = None;
    for (index, field) in fields.iter().enumerate() {
        let options = field_options(field)?;
        let binding = quote::format_ident!("field_{index}");
        let name = field
            .ident
            .as_ref()
            .map_or_else(|| index.to_string(), ToString::to_string);
        let kind: String = field
            .ty
            .to_token_stream()
            .to_string()
            .split_whitespace()
            .collect();
        text.push_str(&format!("{name}:{kind};"));
        if options.key {
            if key.is_some() {
                return Err(Error::new_spanned(field, "only one field can be the key"));
            }
            key = Some(quote!(::core::option::Option::Some(#root::Key::from(#binding))));
        }
        if !options.no_heap {
            let field_type = &field.ty;
            heap.push(quote!(+ #root::HeapSize::heap_size(#binding)));
            owns_nothing.push(quote!(&& <#field_type as #root::HeapSize>::OWNS_NOTHING));
        }
        bindings.push(match &field.ident {
            Some(ident) => quote!(#ident: #binding),
            None => {
                let position = syn::Index::from(index);
                quote!(#position: #binding)
            }
        });
    }
    Ok(Shape {
        text,
        pattern: quote!({ #(#bindings),* }),
        heap: quote!(0usize #(#heap)*),
        owns_nothing: quote!(#(#owns_nothing)*),
        key,
    })
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let TypeOptions {
        name,
        version,
        root,
    } = type_options(input)?;
    let ident = &input.ident;
    let mut text = String::new();
    let mut heap_arms = Vec::new();
    let mut owns_nothing = Vec::new();
    let mut key_arms = Vec::new();
    let mut has_key = false;
    let mut arm = |path: TokenStream, shape: Shape| {
        let Shape {
            pattern,
            heap,
            owns_nothing: nothing,
            key,
            ..
        } = shape;
        owns_nothing.push(nothing);
        heap_arms.push(quote!(#path #pattern => #heap));
        has_key |= key.is_some();
        let key = key.unwrap_or_else(|| quote!(::core::option::Option::None));
        key_arms.push(quote!(#path #pattern => #key));
    };
    match &input.data {
        Data::Struct(data) => {
            let shape = shape(&data.fields, &root)?;
            text.push_str(&shape.text);
            arm(quote!(Self), shape);
        }
        Data::Enum(data) => {
            if data.variants.is_empty() {
                return Err(Error::new_spanned(
                    ident,
                    "an enum without variants has no values to send",
                ));
            }
            for variant in &data.variants {
                let shape = shape(&variant.fields, &root)?;
                let variant = &variant.ident;
                text.push_str(&format!("{variant}{{{}}}", shape.text));
                arm(quote!(Self::#variant), shape);
            }
        }
        Data::Union(_) => return Err(Error::new_spanned(ident, "a union cannot be a message")),
    }
    let key = has_key.then(|| {
        quote! {
            #[allow(unused_variables)]
            fn key(&self) -> ::core::option::Option<#root::Key> {
                match self { #(#key_arms),* }
            }
        }
    });
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(#root::HeapSize));
        parameter
            .bounds
            .push(syn::parse_quote!(::core::marker::Send));
        parameter.bounds.push(syn::parse_quote!('static));
    }
    let (implementation, types, conditions) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #implementation #root::HeapSize for #ident #types #conditions {
            const OWNS_NOTHING: bool = true #(#owns_nothing)*;
            #[inline]
            #[allow(unused_variables)]
            fn heap_size(&self) -> usize {
                match self { #(#heap_arms),* }
            }
        }
        #[automatically_derived]
        impl #implementation #root::Message for #ident #types #conditions {
            const KIND: #root::Kind = #root::Kind::new(#name, #version, #text);
            const FIXED_WEIGHT: ::core::option::Option<usize> =
                if <Self as #root::HeapSize>::OWNS_NOTHING {
                    ::core::option::Option::Some(::core::mem::size_of::<Self>())
                } else {
                    ::core::option::Option::None
                };
            #[inline]
            fn weight(&self) -> usize {
                ::core::mem::size_of::<Self>() + #root::HeapSize::heap_size(self)
            }
            #key
        }
    })
}

/// Where the runtime crate is for the deriving crate: under its own name, renamed, or inside `mcpbus`.
fn crate_path() -> syn::Path {
    let found = |name: &str| match proc_macro_crate::crate_name(name) {
        Ok(proc_macro_crate::FoundCrate::Itself) => Some(name.replace('-', "_")),
        Ok(proc_macro_crate::FoundCrate::Name(name)) => Some(name),
        Err(_) => None,
    };
    let ident = |name: String| syn::Ident::new(&name, proc_macro2::Span::call_site());
    if let Some(name) = found("mcpbus-actors").map(ident) {
        return syn::parse_quote!(::#name);
    }
    match found("mcpbus").map(ident) {
        Some(name) => syn::parse_quote!(::#name::actors),
        None => syn::parse_quote!(::mcpbus_actors),
    }
}
