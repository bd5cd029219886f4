//! Looks for things in tokens, and moves them.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Error;

use super::key::Key;
use super::options::Options;
use super::returned::Returned;

/// Where `word` stands, at any depth.
pub(super) fn find(tokens: TokenStream, word: &str) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == word => Some(ident.span()),
        TokenTree::Group(group) => find(group.stream(), word),
        _ => None,
    })
}

/// Makes errors about a path be shown at `span`; what its names mean stays as it was.
pub(super) fn located(path: TokenStream, span: Span) -> TokenStream {
    let moved = path.into_iter().map(|mut token| {
        token.set_span(span.resolved_at(token.span()));
        token
    });
    moved.collect()
}

/// Whether a type borrows from something that does not live for ever.
pub(super) fn borrows(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let found = match token {
            TokenTree::Group(group) => borrows(group.stream()),
            TokenTree::Punct(sign) if sign.as_char() == '&' => {
                !matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'')
            }
            TokenTree::Punct(sign) if sign.as_char() == '\'' => {
                !matches!(tokens.peek(), Some(TokenTree::Ident(name)) if name == "static")
            }
            _ => false,
        };
        if found {
            return true;
        }
    }
    false
}

/// Whether there is a `&mut`, with or without a lifetime, at any depth.
pub(super) fn borrows_mutably(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let found = match token {
            TokenTree::Group(group) => borrows_mutably(group.stream()),
            TokenTree::Punct(sign) if sign.as_char() == '&' => {
                // A lifetime is a sign and a name.
                if tokens
                    .next_if(
                        |next| matches!(next, TokenTree::Punct(sign) if sign.as_char() == '\''),
                    )
                    .is_some()
                {
                    tokens.next();
                }
                matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word == "mut")
            }
            _ => false,
        };
        if found {
            return true;
        }
    }
    false
}

/// What is generated beside a method stands in a static, which cannot name `Self`.
pub(super) fn refuse_self(key: &Key, returned: &Returned, options: &Options) -> syn::Result<()> {
    let mut tokens = options.outside();
    key.key_type.to_tokens(&mut tokens);
    returned.cached.to_tokens(&mut tokens);
    find(tokens, "Self").map_or(Ok(()), |span| {
        Err(Error::new(
            span,
            "the cache is a static, which cannot name `Self`: write the type's name here",
        ))
    })
}
