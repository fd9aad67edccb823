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
    testTimeout: 20_000,
  },
})
