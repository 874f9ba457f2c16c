//! The package carries its own copy of the contract, because it is used outside of this repository.

#[test]
fn the_contract_here_is_the_repositorys() {
    let ours = include_str!("../wit/plugin.wit");
    let theirs = include_str!("../../schemas/wit/plugin.wit");
    assert!(ours == theirs, "copy schemas/wit/plugin.wit over plugin-sdk/wit/plugin.wit");
}
