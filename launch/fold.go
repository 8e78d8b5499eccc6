package launch

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// fold writes host names short: node1 node2 node3 n9.example is "n9.example,node[1-3]".
func fold(hosts []string) string {
	type family struct {
		prefix, suffix string
		width          int // digits where the number begins with 0, else 0
	}
	numbers := map[family][]int{}
	var parts []string
	for _, h := range hosts {
		prefix, digits, suffix := numbered(h)
		n, err := strconv.Atoi(digits)
		if err != nil {
			parts = append(parts, h)
			continue
		}
		f := family{prefix: prefix, suffix: suffix}
		if digits[0] == '0' {
			f.width = len(digits)
		}
		// node09 and node10 are one family: a number of the same width continues a padded one.
		if padded := (family{prefix, suffix, len(digits)}); f.width == 0 && numbers[padded] != nil {
			f = padded
		}
		numbers[f] = append(numbers[f], n)
	}
	for f, ns := range numbers {
		parts = append(parts, f.prefix+ranges(ns, f.width, "[", "]")+f.suffix)
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), ",")
}

// numbered splits a name at the last number before its domain. Addresses have none.
func numbered(host string) (prefix, digits, suffix string) {
	if _, err := netip.ParseAddr(host); err == nil {
		return host, "", ""
	}
	label, _, _ := strings.Cut(host, ".")
	end := strings.LastIndexAny(label, "0123456789") + 1
	prefix = strings.TrimRight(label[:end], "0123456789")
	return prefix, host[len(prefix):end], host[end:]
}

// ranges writes numbers as 1-3,7, between the brackets where that is more than one number.
func ranges(ns []int, width int, open, shut string) string {
	slices.Sort(ns)
	ns = slices.Compact(ns)
	number := func(n int) string {
		s := strconv.Itoa(n)
		return strings.Repeat("0", max(0, width-len(s))) + s
	}
	if len(ns) == 1 {
		return number(ns[0])
	}
	var parts []string
	for i := 0; i < len(ns); {
		j := i
		for j+1 < len(ns) && ns[j+1] == ns[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, number(ns[i]))
		} else {
			parts = append(parts, number(ns[i])+"-"+number(ns[j]))
		}
		i = j + 1
	}
	return open + strings.Join(parts, ",") + shut
}

// rankNames is "rank 3" or "ranks 0-3,5".
func rankNames(ranks []int) string {
	if len(ranks) == 1 {
		return "rank " + strconv.Itoa(ranks[0])
	}
	return "ranks " + ranges(slices.Clone(ranks), 0, "", "")
}
