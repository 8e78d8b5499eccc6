package launch

import "maps"

// mergeTwins makes one node of several names of one machine: the first, to which the slots of the others are added. It
// is one machine where host key and user are the same, and the kernel's boot, too: images of one virtual machine may
// share their keys.
func (j *job) mergeTwins() {
	first, names := map[string]*node{}, map[*node][]string{}
	for _, n := range j.nodes {
		id := n.machine()
		f, again := first[id]
		switch {
		case id == "":
		case again:
			n.twin = f
			f.host.Slots += n.host.Slots
			names[f] = append(names[f], n.spelt())
		default:
			first[id] = n
		}
	}
	for _, f := range j.nodes {
		if names[f] == nil {
			continue
		}
		slots := "a slot for each CPU"
		if f.host.Slots > 0 {
			slots = count(f.host.Slots, "slot")
		}
		j.warn("%s are one machine: they are one node, %s, with %s", fold(append(names[f], f.spelt())), f.host.Host, slots)
	}
}

// machine tells one machine from others; empty where that is not certain.
func (n *node) machine() string {
	switch {
	case n.ready == nil || n.ready.BootID == "":
	case n.local:
		return n.ready.BootID
	case n.login != "":
		return n.ready.BootID + " " + n.login
	}
	return ""
}

// spelt is how the user wrote the node.
func (n *node) spelt() string {
	if n.host.User != "" {
		return n.host.User + "@" + n.host.Host
	}
	return n.host.Host
}

// warnTwins tells of nodes that are one machine in spite of other keys or users.
func (j *job) warnTwins() {
	names := map[string][]string{}
	for _, n := range j.members() {
		if n.index == 0 && j.rootIdle { // which needs no CPU of it
			continue
		}
		names[n.ready.BootID] = append(names[n.ready.BootID], n.spelt())
	}
	maps.DeleteFunc(names, func(id string, same []string) bool { return id == "" || len(same) < 2 })
	for _, n := range j.members() {
		if same := names[n.ready.BootID]; same != nil {
			j.warn("%s are one machine: every name counts its CPUs again: list it once, with all its slots", fold(same))
		}
		delete(names, n.ready.BootID)
	}
}
