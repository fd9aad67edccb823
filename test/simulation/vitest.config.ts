import { defineConfig } from 'vitest/config'

const conditions = ['shardwise-source']

/** Apart from the root's: some seventy runs of the simulation, each with a mistake planted, take minutes. */
export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/simulation/*.planted.ts'],
    execArgv: ['--conditions=shardwise-source'],
    reporters: ['default', './scripts/plain-count-reporter.ts'],
  },
})
