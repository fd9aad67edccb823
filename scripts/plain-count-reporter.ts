import type { Reporter, TestModule } from 'vitest/node'

/**
 * Ends the run with a line that any reader of a log understands: `N passed, N failed`. Before it, why tests were skipped.
 * A test file that could not be loaded, and an error outside of any test, count as failed.
 */
export default class PlainCountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    let passed = 0
    let failed = unhandledErrors.length
    const skipped = new Map<string, number>()
    for (const module of modules) {
      failed += module.errors().length
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state === 'passed') passed++
        else if (result.state === 'failed') failed++
        else {
          const why = (result.state === 'skipped' && result.note) || 'without a reason'
          skipped.set(why, (skipped.get(why) ?? 0) + 1)
        }
      }
    }
    // After vitest's own summary, which is printed by a reporter before this one.
    for (const [why, count] of skipped) process.stdout.write(`\nskipped ${count}: ${why}`)
    process.stdout.write(`\n\n${passed} passed, ${failed} failed\n`)
  }
}
