import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

const conditions = ['shardwise-source']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['packages/*/{src,test}/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'],
    // Worker threads and child processes started by a test load the sources too.
    execArgv: ['--conditions=shardwise-source'],
    reporters: ['default', './scripts/plain-count-reporter.ts'],
    // Many wait for sockets and clocks most of the time. By default two cores run one file at a time, and all take a third longer.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    testTimeout: 20_000,
  },
})
