// SPDX-License-Identifier: Apache-2.0

// Command etcd is one embedded etcd member on loopback, for the tests. Its options are spelled as
// the released program spells them, so that either can stand in for the other.
package main

import (
	"flag"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	config := embed.NewConfig()
	config.LogLevel = "warn"
	flag.StringVar(&config.Dir, "data-dir", "", "directory of the data")
	flag.BoolVar(&config.UnsafeNoFsync, "unsafe-no-fsync", false, "never wait for the disk")
	client := flag.String("listen-client-urls", "", "the address for clients")
	advertised := flag.String("advertise-client-urls", "", "the same, as clients are told it")
	peer := flag.String("listen-peer-urls", "", "the address for peers")
	flag.Parse()

	config.ListenClientUrls = address(*client)
	config.AdvertiseClientUrls = address(*advertised)
	config.ListenPeerUrls = address(*peer)
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.InitialCluster = config.InitialClusterFromName(config.Name)

	etcd, err := embed.StartEtcd(config)
	if err != nil {
		log.Fatalf("etcd: %v", err)
	}
	defer etcd.Close()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	select {
	case <-stop:
	case err := <-etcd.Err():
		log.Fatalf("etcd: %v", err)
	}
}

func address(text string) []url.URL {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		log.Fatalf("etcd: %q is no address", text)
	}
	return []url.URL{*parsed}
}
