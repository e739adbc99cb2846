"""The ledger: a projection of session journals into SQL, written exactly once and rebuildable from them."""
