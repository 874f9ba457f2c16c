//! `#[derive(Row)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Index, Result, Type};

pub(crate) fn derive(item: &DeriveInput) -> Result<TokenStream> {
    let refuse = |message| Err(Error::new_spanned(&item.ident, message));
    let Data::Struct(data) = &item.data else {
        return refuse("a row is a struct whose fields name the columns");
    };
    let Fields::Named(named) = &data.fields else {
        return refuse("a row is a struct whose fields have names, as they name the columns");
    };
    if !item.generics.params.is_empty() {
        return refuse("a row outlives the batch that it was read from: it takes no parameters");
    }
    if named.named.is_empty() {
        return refuse("a row has at least one column, so that the rows can be counted");
    }
    let ident = &item.ident;
    let fields: Vec<_> = named.named.iter().filter_map(|field| field.ident.as_ref()).collect();
    let names: Vec<String> =
        fields.iter().map(|field| field.to_string().trim_start_matches("r#").to_owned()).collect();
    let types: Vec<_> = named.named.iter().map(|field| &field.ty).collect();
    let columns: Vec<_> = (0..fields.len()).map(|i| format_ident!("column_{i}")).collect();
    let of_struct = of_struct(ident, &fields, &names, &types);
    // Spans of the author's types, so that an unusable one is underlined and not the derive.
    let read = types.iter().zip(&columns).map(|(ty, column)| {
        quote_spanned!(ty.span()=> <#ty as ::tidemill_plugin::FromColumn>::get(#column, row))
    });
    let schema = types.iter().zip(&names).map(|(ty, name)| {
        quote_spanned! {ty.span()=>
            private::arrow::datatypes::Field::new(
                #name,
                <#ty as ::tidemill_plugin::IntoColumn>::data_type(),
                <#ty as ::tidemill_plugin::IntoColumn>::NULLABLE,
            )
        }
    });
    Ok(quote! {
        const _: () = {
            use ::tidemill_plugin::__private as private;

            impl ::tidemill_plugin::Row for #ident {
                fn schema() -> private::arrow::datatypes::SchemaRef {
                    let fields = ::std::vec::Vec::<private::arrow::datatypes::Field>::from([#(#schema),*]);
                    ::std::sync::Arc::new(private::arrow::datatypes::Schema::new(fields))
                }

                fn from_batch(
                    batch: &private::arrow::array::RecordBatch,
                ) -> ::tidemill_plugin::Result<::std::vec::Vec<#ident>> {
                    #(let #columns = private::column::<#types>(batch, #names)?;)*
                    let row = |row: usize| #ident { #(#fields: #read),* };
                    ::std::result::Result::Ok((0..batch.num_rows()).map(row).collect())
                }

                fn to_batch(
                    rows: &[#ident],
                ) -> ::tidemill_plugin::Result<private::arrow::array::RecordBatch> {
                    #(let mut #columns = <#types as ::tidemill_plugin::IntoColumn>::builder(rows.len());)*
                    for row in rows {
                        #(<#types as ::tidemill_plugin::IntoColumn>::append(
                            &mut #columns,
                            ::std::option::Option::Some(&row.#fields),
                        );)*
                    }
                    let columns = ::std::vec![
                        #(<#types as ::tidemill_plugin::IntoColumn>::finish(#columns)),*
                    ];
                    let schema = <#ident as ::tidemill_plugin::Row>::schema();
                    ::std::result::Result::Ok(private::arrow::array::RecordBatch::try_new(schema, columns)?)
                }
            }

            #of_struct
        };
    })
}

/// The row as the value of a column: a STRUCT.
fn of_struct(ident: &Ident, fields: &[&Ident], names: &[String], types: &[&Type]) -> TokenStream {
    let index: Vec<Index> = (0..fields.len()).map(Index::from).collect();
    quote! {
        impl<'a> ::tidemill_plugin::FromColumn<'a> for #ident {
            type Column = private::arrow::array::StructArray;
            const NULLABLE: bool = false;

            fn data_type() -> private::arrow::datatypes::DataType {
                <#ident as ::tidemill_plugin::IntoColumn>::data_type()
            }

            fn get(column: &'a private::arrow::array::StructArray, row: usize) -> #ident {
                #ident {
                    #(#fields: <#types as ::tidemill_plugin::FromColumn>::get(
                        private::member::<#types>(column, #index),
                        row,
                    )),*
                }
            }

            fn takes(column: &'a private::arrow::array::StructArray) -> bool {
                true #(&& private::takes_member::<#types>(column, #index))*
            }
        }

        impl ::tidemill_plugin::IntoColumn for #ident {
            type Builder = (
                private::arrow::array::NullBufferBuilder,
                (#(<#types as ::tidemill_plugin::IntoColumn>::Builder,)*),
            );

            fn data_type() -> private::arrow::datatypes::DataType {
                private::struct_of(&[
                    #((#names, <#types as ::tidemill_plugin::IntoColumn>::data_type())),*
                ])
            }

            fn builder(rows: usize) -> Self::Builder {
                let nulls = private::arrow::array::NullBufferBuilder::new(rows);
                (nulls, (#(<#types as ::tidemill_plugin::IntoColumn>::builder(rows),)*))
            }

            fn append(
                (nulls, members): &mut Self::Builder,
                value: ::std::option::Option<&#ident>,
            ) {
                nulls.append(::std::option::Option::is_some(&value));
                #(<#types as ::tidemill_plugin::IntoColumn>::append(
                    &mut members.#index,
                    ::std::option::Option::map(value, |value| &value.#fields),
                );)*
            }

            fn finish((nulls, members): Self::Builder) -> private::arrow::array::ArrayRef {
                let data_type = <#ident as ::tidemill_plugin::IntoColumn>::data_type();
                let members = ::std::vec![
                    #(<#types as ::tidemill_plugin::IntoColumn>::finish(members.#index)),*
                ];
                private::finish_struct(&data_type, members, nulls)
            }
        }

        impl ::tidemill_plugin::ScalarResult for #ident {
            type Value = #ident;

            fn into_value(self) -> ::tidemill_plugin::Result<::std::option::Option<#ident>> {
                ::std::result::Result::Ok(::std::option::Option::Some(self))
            }
        }
    }
}
