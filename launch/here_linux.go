package launch

// ownExecutable is a path to this very program, even if its file has been replaced or removed since.
func ownExecutable() (string, error) { return "/proc/self/exe", nil }
