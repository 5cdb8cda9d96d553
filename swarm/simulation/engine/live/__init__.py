"""Runs shards in Ray actors that wait for nobody: each plays its rounds at its own pace and mixes
whatever has arrived. Numbers differ from run to run; what is lost by that is measured."""
