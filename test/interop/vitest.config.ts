import { defineConfig } from 'vitest/config'

const conditions = ['shardwise-source']

/** Apart from the root's: these tests need a JDK and take minutes. `npm run interop` builds what they run and runs them. */
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/interop/**/*.interop.ts'],
    execArgv: ['--conditions=shardwise-source'],
    reporters: ['verbose', './scripts/plain-count-reporter.ts'],
    // One at a time: a KCL takes a whole core while it starts, and failover is a matter of time.
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 60_000,
  },
})
