//go:build !linux

package main

func sniff([]string) string { return "there is no sniffer for this system" }
