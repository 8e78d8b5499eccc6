package launch

// warnTwins tells of nodes that are one machine under several names.
func (j *job) warnTwins() {
	names := map[string][]string{}
	for _, n := range j.members() {
		names[n.ready.BootID] = append(names[n.ready.BootID], n.host.Host)
	}
	for _, n := range j.members() {
		id := n.ready.BootID
		if same := names[id]; id != "" && len(same) > 1 {
			j.warn("%s are one machine: every name counts its CPUs again: list it once, with all its slots", fold(same))
		}
		delete(names, id)
	}
}
