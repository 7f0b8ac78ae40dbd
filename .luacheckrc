-- The scripts of lua/, each with the files it includes, as tests/it/source/lua_lint.rs writes them to target/. They may use
-- what both Redis and the embedded engine have.
stds.scripts = {
  read_globals = {
    'KEYS', 'ARGV',
    redis = { fields = { 'call', 'pcall' } },
    struct = { fields = { 'pack', 'unpack' } },
    math = { fields = { 'abs', 'ceil', 'floor', 'max', 'min' } },
    string = { fields = { 'find', 'format', 'gmatch', 'gsub', 'lower', 'match', 'rep', 'sub' } },
    table = { fields = { 'concat', 'sort' } },
    'ipairs', 'next', 'pairs', 'select', 'tonumber', 'type', 'unpack',
  },
}
std = 'scripts'
max_line_length = 132
