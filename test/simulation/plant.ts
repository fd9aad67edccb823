/** Preloaded with `--import`, plants the mutation that the environment names into the sources as they are loaded. */
import { registerHooks } from 'node:module'
import { mutated } from './mutation.ts'
import { mutations } from './mutations.ts'

const name = process.env.MUTATION
const mutation = mutations.find((each) => each.name === name)
if (mutation === undefined) throw new Error(`MUTATION: expected the name of a mutation, got "${name}"`)

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith(`/packages/${mutation.file}`)) return loaded
    return { ...loaded, source: mutated(String(loaded.source), mutation) }
  },
})
