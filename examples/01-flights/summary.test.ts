import { expect, test } from 'vitest'
import type { Total } from './source.ts'
import { topTable } from './summary.ts'

const words = { records: 'flights', key: 'airport', keys: 'airports', mean: 'mean delay (min)' }

test('the table has the ten keys with the most records, busiest first', () => {
  const totals = new Map<string, Total>(
    Array.from({ length: 12 }, (_, index) => [`A${index}`, { count: 1_000 * (index + 1), sum: -500 * (index + 1) }]),
  )
  const [header, first, ...rest] = topTable(totals, words)
  expect(header).toBe('airport  flights  mean delay (min)')
  expect(first).toBe('A11       12,000             -0.50')
  expect(rest.length).toBe(9)
})
