package launch

import (
	"slices"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	for _, v := range []string{"TESTED_A=1", "TESTED_B=x=y", "HOME=/here", "SSH_AUTH_SOCK=/s", "PPRUN_RANK=3", "SLURM_X=1", "EMPTY="} {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	for _, c := range []struct {
		name    string
		extra   []string
		none    bool
		have    string
		lack    string
		missing string
	}{
		{"all but the node's own", nil, false, "TESTED_A=1 TESTED_B=x=y EMPTY=", "HOME SSH_AUTH_SOCK PPRUN_RANK SLURM_X", ""},
		{"named ones", []string{"HOME", "SLURM_*"}, false, "HOME=/here SLURM_X=1 TESTED_A=1", "SSH_AUTH_SOCK PPRUN_RANK", ""},
		{"set ones", []string{"TESTED_A=2", "NEW="}, false, "TESTED_A=2 NEW=", "", ""},
		{"none", []string{"TESTED_*"}, true, "TESTED_A=1 TESTED_B=x=y", "EMPTY PATH", ""},
		{"not there", []string{"TESTED_C", "TESTED_A", "NOBODY_*"}, true, "TESTED_A=1", "TESTED_C", "TESTED_C"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, missing := environment(c.extra, c.none)
			for _, want := range strings.Fields(c.have) {
				if !slices.Contains(env, want) {
					t.Errorf("%s is not in %q", want, env)
				}
			}
			for _, name := range strings.Fields(c.lack) {
				if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
					t.Errorf("%s is in %q", name, env)
				}
			}
			if got := strings.Join(missing, " "); got != c.missing {
				t.Errorf("missing %q, want %q", got, c.missing)
			}
		})
	}
}
