package org.libmusig

import org.libmusig.ffi.MusigException
import org.libmusig.ffi.errorIsRetryable

/**
 * Whether the same call may succeed later, though nothing in it changes: what failed is outside of it (the network, the
 * disk, the Bitcoin backend, a device), or ends (a limit that other sessions free, a suspension, a locked signer).
 */
val MusigException.isRetryable: Boolean
    get() = try {
        errorIsRetryable(this)
    } catch (_: MusigException) {
        // An error of the application's own, with an id that is none.
        false
    }
