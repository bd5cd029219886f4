//! Searches tokens, and changes their spans.

use proc_macro2::{Span, TokenStream, TokenTree};

/// The span of the first `word`, at any depth.
pub(super) fn find(tokens: TokenStream, word: &str) -> Option<Span> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == word => Some(ident.span()),
        TokenTree::Group(group) => find(group.stream(), word),
        _ => None,
    })
}

/// Changes the place of errors about a path to `span`, without changing how its names resolve.
pub(super) fn located(path: TokenStream, span: Span) -> TokenStream {
    let moved = path.into_iter().map(|mut token| {
        token.set_span(span.resolved_at(token.span()));
        token
    });
    moved.collect()
}

/// Whether a type contains a borrow that is not `'static`.
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

/// Whether the tokens contain a `&mut`, with or without a lifetime, at any depth.
pub(super) fn borrows_mutably(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let found = match token {
            TokenTree::Group(group) => borrows_mutably(group.stream()),
            TokenTree::Punct(sign) if sign.as_char() == '&' => {
                // A lifetime consists of two tokens.
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
