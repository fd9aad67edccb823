import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { resolveStreamOptions } from './read-options.ts'

const page = readFileSync(new URL('../../../../docs/reading-without-leases.md', import.meta.url), 'utf8')
const source = readFileSync(new URL('./read-options.ts', import.meta.url), 'utf8')

const rows = page
  .split('\n## Options\n')[1]!
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .flatMap((line) => {
    const [names = '', value = ''] = line.split('|').slice(1)
    return [...names.matchAll(/`(\w+)`/g)].map(([, name = '']) => [name, value.trim()] as const)
  })

test('the page has every option, and no other', () => {
  const interfaces = [...source.matchAll(/export interface Read\w*Options[^{]*\{([\s\S]*?)\n\}/g)]
  const names = interfaces.flatMap(([, body = '']) => [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)])
  expect(rows.map(([name]) => name).toSorted()).toEqual([...new Set(names.map(([, name]) => name))].toSorted())
})

test('the page has the defaults of the code', () => {
  const defaults = Object.entries(resolveStreamOptions({ stream: 'flights' }))
  const numbers = rows.filter(([, value]) => /^\d+$/.test(value)).map(([name, value]) => [name, Number(value)])
  expect(numbers).toHaveLength(3)
  expect(defaults).toEqual(expect.arrayContaining(numbers))
})
