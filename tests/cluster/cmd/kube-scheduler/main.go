// SPDX-License-Identifier: Apache-2.0

// Command kube-scheduler is the scheduler of Kubernetes, as released, for the tests.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	os.Exit(cli.Run(app.NewSchedulerCommand()))
}
